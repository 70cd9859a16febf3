"""Paired trainings: verdicts, left-out data sets, and studies that keep what is finished."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks import templates
from benchmarks.studies import left_out, paired, recipes, systems
from distill.config import make_config
from distill.students.build import build_student
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError

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


def test_figures_are_compared_where_every_seed_of_both_arms_has_them() -> None:
    base = [{"Dice, B": 0.5, "recall": 0.1}, {"Dice, B": 0.6, "recall": 0.2}]
    found = [{"Dice, B": 0.7}, {"Dice, B": 0.81, "recall": 0.2}]
    figures = paired.compare_figures(found, base)
    assert list(figures) == ["Dice, B"]
    assert figures["Dice, B"].difference == pytest.approx(0.205)
    assert figures["Dice, B"].verdict == "higher"
    assert paired.compare_figures(base, None)["recall"].verdict == "baseline"
    assert paired.compare_figures([{}, {}], [{}, {}]) == {}


def test_a_task_teacher_takes_the_place_of_the_braces() -> None:
    assert "cwd" not in recipes.known_recipes([], ["x"])
    known = recipes.known_recipes(["run:R", "run:S"], ["x", "pseudo"])
    assert known["cwd"] == {"recipe": "difom", "teachers": [], "task_teachers": ["run:R", "run:S"]}
    assert known["task-maps"] == {"recipe": "difom", "teachers": ["run:R", "run:S"]}
    assert known["self-training"] == {"recipe": "none", "data": ["x", "pseudo"]}
    assert "{}" not in str([settings.values() for settings in known.values()])
    assert all(make_config({"data": ["x"]} | settings) for settings in known.values())


def test_every_arm_is_a_network_and_an_arm_of_one_name_has_one_configuration() -> None:
    configs: dict[str, object] = {}
    for comparison in systems.COMPARISONS.values():
        for name, changes in comparison.arms.items():
            config = make_config(
                {"data": ["x"]} | systems.SHARED | comparison.settings | changes,
            )
            build_student(config.student.network, pretrained=False)
            assert configs.setdefault(name, config) == config
    assert CliRunner().invoke(systems.command, ["--list"]).output.count("\n") > len(
        systems.COMPARISONS
    )


def test_unusable_comparisons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no arm pranet"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", chosen=("pranet",)
        )
    with pytest.raises(UsageError, match="trained on and left out"):
        systems.compare_systems(
            "decoders", (tmp_path,), range(2), tmp_path / "runs", left_out=(tmp_path,)
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
def test_a_comparison_of_systems_scores_a_hospital_that_no_run_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    home, other = tmp_path / "home", tmp_path / "other"
    write_dataset(home, train=6, validation=3, negatives=0, seed=1, size=(72, 72))
    write_dataset(other, train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    study = systems.compare_systems(
        "dynamic-head", (home,), range(2), tmp_path / "runs", left_out=(other,), settings=TINY
    )
    assert [row.recipe for row in study.rows] == ["edge-s", "dynamic-head"]
    assert study.left_out == ["other"]
    figure = study.rows[1].figures["Dice, other"]
    assert len(figure.values) == 2
    assert figure.difference_ci95 is not None
    monkeypatch.setattr("distill.train.runs.start_run", None)
    monkeypatch.setattr("distill.train.evaluation.evaluate_run", None)
    again = systems.compare_systems(
        "dynamic-head", (home,), range(2), tmp_path / "runs", left_out=(other,), settings=TINY
    )
    assert again.rows == study.rows
    text = templates.study(msgspec.json.decode(msgspec.json.encode(study)))
    assert "Dice, other" in text
    assert "| baseline |" in text


def test_all_parts_of_a_left_out_folder_are_scored(tmp_path: Path) -> None:
    write_dataset(tmp_path / "split", train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    assert len(left_out.left_out_pairs(tmp_path / "split")) == 5
    assert len(left_out.left_out_pairs(tmp_path / "split" / "train")) == 3
