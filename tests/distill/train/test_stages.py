"""Runs of several trainings, and the mean of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from distill.config import make_config
from distill.run_folder import load_checkpoint, load_config, load_run
from distill.train.runs import can_resume, resume_run, start_run
from distill.train.stages import mean_weights, stage_path
from distill.train.trainer import Trainer
from edge.errors import DataError, TrainingError, UsageError
from tests.support.discs import write_discs

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig

STAGES: list[dict[str, Any]] = [
    {"name": "first", "averaged": False},
    {"name": "low", "after": "first", "settings": {"lr": 0.01}},
    {"name": "high", "after": "first", "settings": {"lr": 0.02, "seed": 1}},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs with their masks."""
    root = tmp_path_factory.mktemp("discs")
    write_discs(root, {"train": 6, "validation": 3})
    return root


def config(folder: Path, **changes: Any) -> DistillConfig:
    settings: dict[str, Any] = {"student": "edge-xs", "recipe": "none", "size": 64, "epochs": 1}
    settings |= {"batch_size": 2, "pretrained": False, "freeze_batchnorm": True, "stages": STAGES}
    return make_config({**settings, "data": [str(folder)], **changes})


def best(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_checkpoint(run / "checkpoints" / "best.pt")["student"]
    return weights


def test_a_run_of_stages_holds_the_mean_of_their_best_weights(folder: Path, tmp_path: Path) -> None:
    run = start_run(config(folder), out=tmp_path / "run")
    first, low, high = (best(stage_path(run, stage["name"])) for stage in STAGES)
    assert load_checkpoint(run / "checkpoints" / "best.pt")["logit_scale"] == 1.0
    differing = 0
    for name, value in best(run).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (low[name] + high[name]) / 2)
            differing += not torch.equal(value, first[name])
    assert differing > 50
    started = load_config(stage_path(run, "high"))
    assert started.student.start == str(stage_path(run, "first"))
    assert (started.optimizer.lr, started.run.seed) == (0.02, 1)
    loaded = load_run(run)
    assert loaded.metrics["epoch"] == 3
    assert 0 <= loaded.metrics["dice_val"] <= 1


def test_a_killed_run_of_stages_continues_in_its_stage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncut = start_run(config(folder), out=tmp_path / "whole")
    trained: list[str] = []
    train = Trainer.train

    def killed_in_the_second(trainer: Trainer) -> dict[str, float]:
        trained.append(trainer.run.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(trainer)

    monkeypatch.setattr(Trainer, "train", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        start_run(config(folder), out=tmp_path / "killed")
    assert can_resume(tmp_path / "killed")
    run = resume_run(tmp_path / "killed")
    assert trained == ["first", "low", "first", "low", "high"]
    for name, value in best(run).items():
        assert torch.equal(value, best(uncut)[name]), name


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"name": "a"}, {"name": "a"}], "same name"),
        ([{"name": "a", "after": "b"}, {"name": "b"}], "unknown stage b"),
        ([{"name": "a", "settings": {"size": 96}}], "student or size"),
        ([{"name": "a", "settings": {"val_fraction": 0.5}}], "val_fraction"),
        ([{"name": "a", "settings": {"student": "edge-s"}}], "student or size"),
        ([{"name": "a", "settings": {"stages": [{"name": "b"}]}}], "stages of its own"),
        ([{"name": "a", "averaged": False}], "no stage is averaged"),
        ([{"name": "a"}, {"name": "b", "settings": {"freeze_batchnorm": False}}], "BatchNorm"),
        ([{"name": "a", "settings": {"rate": 1}}], "unknown key 'rate'"),
        ([{"name": "../a"}], "configuration"),
    ],
)
def test_stages_without_a_mean_are_refused_at_once(
    folder: Path, tmp_path: Path, stages: list[dict[str, Any]], words: str
) -> None:
    """Stages that have no mean are refused before anything is written."""
    with pytest.raises(UsageError, match=words):
        start_run(config(folder, stages=stages), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_mean_of_a_stage_and_those_that_keep_its_statistics(
    folder: Path, tmp_path: Path
) -> None:
    first = {"freeze_batchnorm": False, "epochs": 1}
    stages = [{"name": "a", "settings": first}, {"name": "b", "after": "a"}]
    run = start_run(config(folder, stages=stages), out=tmp_path / "run")
    a, b = (best(stage_path(run, name)) for name in "ab")
    for name, value in best(run).items():
        if "running" in name:
            assert torch.equal(a[name], b[name]), name
            assert torch.equal(value, a[name]), name


def test_unlabeled_frames_of_stages_that_average_their_weights(
    folder: Path, tmp_path: Path
) -> None:
    first = {"unlabeled": [], "epochs": 1}
    second = {"ema": 0.9, "epochs": 1}
    stages = [{"name": "a", "settings": first}, {"name": "b", "after": "a", "settings": second}]
    settings = config(folder, stages=stages, unlabeled=[str(folder / "train" / "images")])
    run = start_run(settings, out=tmp_path / "run")
    assert (run / "checkpoints" / "best.pt").is_file()


def test_a_teacher_of_a_later_stage_is_missed_before_the_first(
    folder: Path, tmp_path: Path
) -> None:
    later = {"recipe": "difom", "teachers": [f"dinov2:{tmp_path}/nowhere"]}
    stages = [{"name": "a", "averaged": False}, {"name": "b", "after": "a", "settings": later}]
    with pytest.raises(DataError, match="nowhere is not a folder"):
        start_run(config(folder, stages=stages), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_mean_keeps_types_and_counters() -> None:
    states = [
        {"weight": torch.tensor([1.0, 2.0]), "seen": torch.tensor(3)},
        {"weight": torch.tensor([2.0, 5.0]), "seen": torch.tensor(9)},
    ]
    mean = mean_weights(states)
    assert mean["weight"].tolist() == [1.5, 3.5]
    assert mean["weight"].dtype == torch.float32
    assert mean["seen"].item() == 3


def test_weights_of_different_networks_have_no_mean() -> None:
    with pytest.raises(TrainingError, match="different networks"):
        mean_weights([{"weight": torch.zeros(2)}, {"weight": torch.zeros(3)}])
