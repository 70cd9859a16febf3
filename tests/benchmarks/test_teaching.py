"""Teachers against the task alone: equal steps, shares of the labels, and scores in INT8."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from benchmarks.studies import int8, teaching
from benchmarks.studies.label_share import write_label_share
from distill.config import make_config
from distill.data.load import draw_splits
from distill.run_folder import load_config
from distill.train.stages import run_stages, stage_path
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, VALIDATION = 12, 3
TINY: dict[str, Any] = {
    "size": 64,
    "epochs": 1,
    "image_epochs": 1,
    "batch_size": 3,
    "pretrained": False,
}
NETWORK = "efficientnet_lite2?size=64"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A hospital to train on, and another one."""
    root = tmp_path_factory.mktemp("data")
    for name, train, seed in (("home", TRAIN, 1), ("other", 2, 2)):
        validation = VALIDATION if name == "home" else 1
        size = (72, 72)
        write_dataset(
            root / name, train=train, validation=validation, negatives=0, seed=seed, size=size
        )
    return root / "home", root / "other"


def test_a_share_of_the_labels_is_part_of_a_larger_one(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    home, _ = folders
    masks, frames, held_out = {}, {}, {}
    for share in (25, 50, 100):
        part = write_label_share([home], share, tmp_path / str(share))
        (data,) = part.data
        masks[share] = {path.resolve() for path in (data / "train" / "masks").iterdir()}
        rest = {path.resolve() for root in part.rest for path in (root / "images").iterdir()}
        labeled = {path.resolve() for path in (data / "train" / "images").iterdir()}
        assert not labeled & rest
        frames[share] = labeled | rest
        held_out[share] = {path.resolve() for path in (data / "validation" / "masks").iterdir()}
    assert [len(masks[share]) for share in (25, 50, 100)] == [3, 6, TRAIN]
    assert masks[25] < masks[50] < masks[100]
    assert frames[25] == frames[50] == frames[100]
    assert held_out[25] == held_out[100]
    assert len(held_out[25]) == VALIDATION


@pytest.mark.parametrize("share", [25, 100])
def test_every_arm_makes_the_same_number_of_steps(
    folders: tuple[Path, Path], tmp_path: Path, share: int
) -> None:
    labels = write_label_share([folders[0]], share, tmp_path / "labels")
    settings = teaching.SHARED | TINY | {"image_epochs": 5, "epochs": 2}
    plan = teaching.plan_share(share, labels, (), teaching.ARMS, settings, tmp_path / "fits")
    assert list(plan.arms) == ["task", "embedded", "fitted", "ensemble"]
    assert plan.frames == TRAIN
    per_epoch = TRAIN * share // 100 // 3
    assert plan.steps == 2 * per_epoch + 5 * TRAIN // 3
    for arm, changes in plan.arms.items():
        config = make_config(plan.settings | changes)
        splits = draw_splits(config.data)
        assert len(splits.train) == TRAIN * share // 100
        stages = run_stages(config)
        assert [stage.name for stage in stages] == ([] if arm == "task" else ["teachers", "task"])
        images = len(splits.train) + len(splits.images)
        first = config.run.image_epochs * (images // 3) if stages else 0
        assert first + config.run.epochs * (len(splits.train) // 3) == plan.steps


def test_unusable_shares_and_folders_are_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    home, other = (str(folder) for folder in folders)
    common = ["--data", home, "--runs", str(tmp_path / "runs")]
    for arguments in (
        ["--left-out", other, "--labels", "10,x"],
        ["--left-out", other, "--labels", "0,10"],
        ["--left-out", other, "--images", other],
        ["--left-out", home],
    ):
        result = CliRunner().invoke(teaching.command, [*common, *arguments])
        assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_study_of_teaching_runs_and_keeps_what_is_finished(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    home, other = (str(folder) for folder in folders)
    command = ["--data", home, "--left-out", other, "--labels", "50", "--seeds", "2"]
    command += ["--teacher", NETWORK, "--fit-epochs", "1", "--runs", str(tmp_path / "runs")]
    command += ["--arm", "ensemble", "--out", str(tmp_path / "study.json")]
    command += [f"--set={key}={value}" for key, value in TINY.items()]
    dry = CliRunner().invoke(teaching.command, [*command, "--dry-run"], catch_exceptions=False)
    assert dry.exit_code == 0
    assert "about" in dry.output
    assert not (tmp_path / "study.json").exists()
    runs_made: list[Any] = []
    original = int8._engine

    def once(run: Path) -> Any:  # a quantization takes many seconds
        runs_made.extend([] if runs_made else [original(run)])
        return runs_made[0]

    monkeypatch.setattr(int8, "_engine", once)
    CliRunner().invoke(teaching.command, command, catch_exceptions=False)
    record = json.loads((tmp_path / "study.json").read_text())
    study = record["shares"]["50"]
    assert [row["recipe"] for row in study["rows"]] == ["task", "ensemble"]
    assert study["left_out"] == ["other"]
    for row in study["rows"]:
        figures = row["figures"]
        for fp32, whole_numbers, lost in zip(
            *(figures[f"{name}, other"]["values"] for name in ("Dice", "Dice INT8")),
            figures["Dice lost to INT8, other"]["values"],
            strict=True,
        ):
            assert lost == pytest.approx(fp32 - whole_numbers)
    runs = tmp_path / "runs" / "labels-50"
    taught = load_config(stage_path(runs / "ensemble-1", "teachers"))
    assert taught.teachers.task_specs == taught.teachers.specs
    assert len(taught.teachers.specs) == 2
    assert load_config(runs / "task-0").run.epochs == 1 + 2
    for name in ("distill.train.runs.start_run", "distill.train.evaluation.evaluate_run"):
        monkeypatch.setattr(name, None)
    monkeypatch.setattr(int8, "_engine", None)
    monkeypatch.setattr("distill.train.teacher_fit.fit_teacher", None)
    CliRunner().invoke(teaching.command, command, catch_exceptions=False)
    again = json.loads((tmp_path / "study.json").read_text())
    assert again["shares"]["50"]["rows"] == study["rows"]
