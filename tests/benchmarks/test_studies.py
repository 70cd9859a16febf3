"""Paired trainings: verdicts, left-out data sets, and studies that keep what is finished."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import templates
from benchmarks.studies import box_data, left_out, paired, recipes, systems
from distill.config import make_config
from distill.data.boxed import load_boxed
from distill.run_folder import load_config
from distill.students.build import build_student
from distill.train.runs import start_run
from edge.datasets.parts import find_parts
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError
from edge.util.host import read_device

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"size": 64, "epochs": 1, "batch_size": 3, "pretrained": False}


def test_an_arm_is_better_only_where_the_interval_excludes_zero() -> None:
    none = [0.80, 0.82, 0.81]
    better = paired.compare("difom", [0.83, 0.85, 0.845], none)
    assert better.verdict == "better"
    assert better.difference == pytest.approx(0.0317, abs=1e-3)
    mixed = paired.compare("difom", [0.85, 0.81, 0.82], none)
    assert mixed.verdict == "no difference shown"
    assert mixed.difference_ci95 is not None
    assert mixed.difference_ci95[0] < 0 < mixed.difference_ci95[1]
    assert paired.compare("difom", [0.70, 0.73, 0.71], none).verdict == "worse"
    assert paired.compare("none", none, None).verdict == "baseline"


def test_figures_are_compared_if_every_seed_has_them() -> None:
    """Figures are compared where every seed of both arms has them."""
    base = [{"Dice, B": 0.5, "recall": 0.1}, {"Dice, B": 0.6, "recall": 0.2}]
    rows = [{"Dice, B": 0.7}, {"Dice, B": 0.81, "recall": 0.2}]
    figures = paired.compare_figures(rows, base)
    assert list(figures) == ["Dice, B"]
    more = paired.compare_figures([{"boxes kept": 0.5}, {"boxes kept": 0.6}], base)
    assert (more["boxes kept"].difference, more["boxes kept"].verdict) == (None, "")
    assert figures["Dice, B"].difference == pytest.approx(0.205)
    assert figures["Dice, B"].verdict == "higher"
    assert paired.compare_figures(base, None)["recall"].verdict == "baseline"
    assert paired.compare_figures([{}, {}], [{}, {}]) == {}


def test_a_task_teacher_takes_the_place_of_the_braces() -> None:
    assert "cwd" not in recipes.known_recipes([], ["x"])
    changes = recipes.known_recipes(["run:R", "run:S"], ["x", "pseudo"])
    assert changes["cwd"] == {
        "recipe": "difom",
        "teachers": [],
        "task_teachers": ["run:R", "run:S"],
    }
    assert changes["task-maps"] == {"recipe": "difom", "teachers": ["run:R", "run:S"]}
    assert changes["self-training"] == {"recipe": "none", "data": ["x", "pseudo"]}
    assert "{}" not in str([settings.values() for settings in changes.values()])
    assert all(make_config({"data": ["x"]} | settings) for settings in changes.values())


def test_every_arm_is_a_network_with_one_configuration() -> None:
    """Every arm is a network and an arm of one name has one configuration."""
    configs: dict[str, object] = {}
    for comparison in systems.COMPARISONS.values():
        for name, changes in comparison.arms.items():
            settings = {key: value for key, value in changes.items() if value != systems.ALONE}
            config = make_config({"data": ["x"]} | systems.SHARED | comparison.settings | settings)
            build_student(config.student.network, pretrained=False)
            assert configs.setdefault(name, config) == config
    assert CliRunner().invoke(systems.command, ["--list"]).output.count("\n") > len(
        systems.COMPARISONS
    )


def test_the_recovered_share_is_between_baseline_and_ceiling() -> None:
    rows = [
        msgspec.structs.replace(
            paired.compare(name, dice, None),
            figures=paired.compare_figures([{"Dice, B": value} for value in dice], None),
        )
        for name, dice in (("masks", [0.5, 0.5]), ("boxes", [0.6, 0.62]), ("full", [0.7, 0.7]))
    ]
    study = paired.Study(
        shared={},
        seeds=[0, 1],
        rows=rows,
        seconds_per_run={},
        device=read_device(),
        versions={},
    )
    shares = paired.recovered_shares(study)
    assert shares == {"Dice": pytest.approx(0.55), "Dice, B": pytest.approx(0.55)}
    flat = msgspec.structs.replace(study, rows=[rows[2], rows[1], rows[0]])
    assert paired.recovered_shares(flat) == {}


def test_masks_are_reduced_to_a_box_for_each_polyp(tmp_path: Path) -> None:
    home = tmp_path / "B"
    for kind in ("images", "masks"):
        (home / kind).mkdir(parents=True)
    mask = np.zeros((50, 60), np.uint8)
    mask[10:20, 5:25] = mask[30:45, 40:50] = 255
    cv2.imwrite(str(home / "images" / "a.png"), np.full((50, 60, 3), 90, np.uint8))
    cv2.imwrite(str(home / "masks" / "a.png"), mask)
    box_data.write_box_data(home, tmp_path / "made")
    data = box_data.write_box_data(home, tmp_path / "made")  # it is there already
    (sample,) = load_boxed([data.boxes], [], rule="full-frame")
    left = [5 / 60, 10 / 50, 25 / 60, 20 / 50]
    assert np.allclose(sorted(sample.boxes), [left, [40 / 60, 30 / 50, 50 / 60, 45 / 50]])
    parts = find_parts(data.folder)
    assert parts is not None
    assert (len(parts.train), parts.validation) == (1, [])


def test_unusable_comparisons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no arm pranet"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", chosen=("pranet",)
        )
    with pytest.raises(UsageError, match="trained on and left out"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", left_out=(tmp_path,)
        )
    with pytest.raises(UsageError, match="needs boxes"):
        systems.compare_systems("boxes", (tmp_path,), range(2), tmp_path / "runs")
    with pytest.raises(UsageError, match="takes no boxes"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", boxed=tmp_path / "b"
        )
    with pytest.raises(UsageError, match="needs teacher"):
        systems.compare_systems("scan-teacher", (tmp_path,), range(2), tmp_path / "runs")
    with pytest.raises(UsageError, match="takes no teacher"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", taught_by=tmp_path / "t"
        )
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_study_trains_pairs_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    write_dataset(tmp_path / "data", train=6, validation=3, negatives=0, seed=1, size=(72, 72))
    shared = {"data": [str(tmp_path / "data")], **TINY}
    chosen = {name: recipes.RECIPES[name] for name in ("none", "shuffled")}
    study = paired.run_study(shared, chosen, [0, 1], tmp_path / "runs")
    assert [row.recipe for row in study.rows] == ["none", "shuffled"]
    assert all(len(row.dice) == 2 for row in study.rows)
    monkeypatch.setattr("distill.train.runs.start_run", None)
    last = (tmp_path / "runs" / "none-1" / "metrics.jsonl").read_text().splitlines()[-1]
    assert study.rows[0].dice[1] == json.loads(last)["dice_val"]
    again = paired.run_study(shared, chosen, [0, 1], tmp_path / "runs")
    assert again.rows == study.rows
    with pytest.raises(UsageError, match="different settings"):
        paired.run_study({**shared, "epochs": 2}, chosen, [0], tmp_path / "runs")


@pytest.mark.slow
def test_a_comparison_scores_a_hospital_that_no_run_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison of systems scores a hospital that no run saw."""
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    home, other = tmp_path / "home", tmp_path / "other"
    write_dataset(home, train=6, validation=3, negatives=0, seed=1, size=(72, 72))
    write_dataset(other, train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    study = systems.compare_systems(
        "uncertainty", (home,), range(2), tmp_path / "runs", left_out=(other,), settings=TINY
    )
    assert [row.recipe for row in study.rows] == ["edge-s", "uncertainty"]
    assert study.left_out == ["other"]
    figure = study.rows[1].figures["Dice, other"]
    assert len(figure.values) == 2
    assert {"AURC, other", "AURC by maximum score, other"} <= study.rows[1].figures.keys()
    areas = [study.rows[0].figures[f"AURC{by}, other"] for by in ("", " by maximum score")]
    assert areas[0] == areas[1]
    assert figure.difference_ci95 is not None
    monkeypatch.setattr("distill.train.runs.start_run", None)
    monkeypatch.setattr("distill.train.evaluation.evaluate_run", None)
    again = systems.compare_systems(
        "uncertainty", (home,), range(2), tmp_path / "runs", left_out=(other,), settings=TINY
    )
    assert again.rows == study.rows
    text = templates.study(msgspec.json.decode(msgspec.json.encode(study)))
    assert "Dice, other" in text
    assert "| baseline |" in text


@pytest.mark.slow
def test_boxes_of_the_head_are_compared_with_those_of_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    for name, seed in (("home", 1), ("other", 2)):
        write_dataset(tmp_path / name, train=6, validation=3, negatives=0, seed=seed, size=(72, 72))
    study = systems.compare_systems(
        "detection",
        (tmp_path / "home",),
        range(2),
        tmp_path / "runs",
        left_out=(tmp_path / "other",),
        chosen=("detection",),
        settings=TINY | {"student": "edge-xs"},
    )
    base, head = (row.figures for row in study.rows)
    assert {"recall of boxes, other", "AP of boxes, other"} <= base.keys() & head.keys()
    assert "AP of the head, other" in head.keys() - base.keys()


@pytest.mark.slow
def test_a_scan_teaches_and_its_shuffled_maps_are_the_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    write_dataset(tmp_path / "home", train=6, validation=3, negatives=0, seed=1, size=(72, 72))
    shared = {"data": [str(tmp_path / "home")], "recipe": "none", **TINY}
    scans = {"student": "edge-xs", "selective_scan": True}
    start_run(make_config(shared | scans), out=tmp_path / "teacher")
    study = systems.compare_systems(
        "scan-teacher",
        (tmp_path / "home",),
        range(2),
        tmp_path / "runs",
        taught_by=tmp_path / "teacher",
        settings=TINY,
    )
    assert [row.recipe for row in study.rows] == ["edge-xs", "taught", "taught-shuffled"]
    control = load_config(tmp_path / "runs" / "taught-shuffled-0")
    assert control.teachers.shuffle
    assert control.teachers.specs == [f"run:{tmp_path / 'teacher'}"]


@pytest.mark.slow
def test_boxes_are_compared_with_masks_and_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    for name, seed in (("home", 1), ("more", 2)):
        write_dataset(tmp_path / name, train=6, validation=3, negatives=0, seed=seed, size=(72, 72))
    study = systems.compare_systems(
        "boxes",
        (tmp_path / "home",),
        range(2),
        tmp_path / "runs",
        boxed=tmp_path / "more",
        settings=TINY,
    )
    assert [row.recipe for row in study.rows] == ["masks", "boxes", "full-masks"]
    assert len(study.rows[1].figures["boxes kept"].values) == 2
    trained = [
        json.loads((tmp_path / "runs" / f"{arm}-0" / "splits.json").read_text())
        for arm in ("masks", "boxes", "full-masks")
    ]
    assert [len(splits["train"]) for splits in trained] == [6, 6, 12]
    assert load_config(tmp_path / "runs" / "masks-0").run.batch_size == 2
    assert [len(splits["boxed"]) for splits in trained] == [0, 6, 0]
    assert all(splits["validation"] == trained[0]["validation"] for splits in trained)


def test_all_parts_of_a_left_out_folder_are_scored(tmp_path: Path) -> None:
    write_dataset(tmp_path / "split", train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    assert len(left_out.left_out_pairs(tmp_path / "split")) == 5
    assert len(left_out.left_out_pairs(tmp_path / "split" / "train")) == 3
