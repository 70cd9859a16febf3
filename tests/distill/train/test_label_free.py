"""Training without masks: on all frames, chosen by the held-out loss, and then the task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.data.load import open_data
from distill.run_folder import load_checkpoint, load_run
from distill.train.runs import start_run
from distill.train.stages import run_stages, stage_path
from distill.train.trainer import Trainer
from edge.errors import DataError, UsageError
from edge_difom.cli.main import main
from quantize.runs.train import train_qat
from tests.support.discs import write_discs
from tests.support.killed_run import kill_and_resume

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, VALIDATION, FURTHER = 6, 3, 5


@pytest.fixture(autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests: the teacher sees each frame once."""
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path_factory.getbasetemp() / "label-free"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bright discs with their masks, and discs without any."""
    root = tmp_path_factory.mktemp("frames")
    write_discs(root, {"discs/train": TRAIN, "discs/validation": VALIDATION, "further": FURTHER})
    return root / "discs", root / "further"


def config(folders: tuple[Path, Path], **changes: Any) -> Any:
    settings: dict[str, Any] = {"student": "edge-xs", "size": 64, "epochs": 1, "batch_size": 2}
    settings |= {"pretrained": False, "teachers": ["efficientnet_lite2?size=64"]}
    settings |= {"data": [str(folders[0])], "images": [str(folders[1])], "image_epochs": 2}
    return make_config(settings | changes)


def alone(folders: tuple[Path, Path], **changes: Any) -> Any:
    return config(folders, schedule="teachers-only", epochs=2, **changes)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(run / "checkpoints" / name)["student"]
    return state


def test_every_frame_comes_once_in_an_epoch_with_its_own_map(
    folders: tuple[Path, Path],
) -> None:
    data = open_data(alone(folders, batch_size=1))
    assert data.steps == TRAIN + FURTHER
    rows_shown = sorted(view.index for step in data.order.epoch(0) for view in step.known)
    assert rows_shown == list(range(TRAIN + FURTHER))
    (cache,) = data.caches
    assert len(cache) == TRAIN + FURTHER
    assert data.images is not None
    picture, mask = data._source(TRAIN + 2, np.random.default_rng(0))
    assert np.array_equal(picture, data.images.images[2])
    assert not mask.any()
    assert len(list(data.held_out_batches())) == VALIDATION


def test_the_best_epoch_has_the_smallest_held_out_loss(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = start_run(alone(folders, ema=0.5), out=tmp_path / "run")
    figures = rows(run)
    losses = [row["distill_val"] for row in figures]
    assert [row["task"] for row in figures] == [0, 0]
    loaded = load_run(run)
    assert loaded.metrics["distill_val"] == min(losses)
    assert loaded.metrics["score"] == -min(losses)
    with pytest.raises(UsageError, match="has not learned the task"):
        train_qat(run)


def test_masks_teach_nothing_in_the_stage_without_masks(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = alone(folders, weight_decay=0.1)
    data = open_data(settings)
    trainer = Trainer(tmp_path, settings, data)
    before = {name: value.clone() for name, value in trainer.student.state_dict().items()}
    batch = next(data.batches(0))
    trainer.prepare_epoch()
    trainer.train_step(batch)
    moved = {
        name
        for name, value in trainer.student.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("fuse") for name in moved)
    assert not [name for name in moved if name.startswith(("head", "presence"))]


def test_images_are_learned_first_and_then_the_task(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = config(folders, recipe="none", checkpoint_minutes=1e-9)
    uncut = start_run(settings, out=tmp_path / "whole")
    first, task = stage_path(uncut, "teachers"), stage_path(uncut, "task")
    assert len(rows(first)) == 2
    assert "distill_val" in rows(first)[0]
    assert "distill_val" not in rows(task)[0]
    assert load_run(task).config.student.start == str(first)
    for name, value in weights(uncut, "best.pt").items():
        torch.testing.assert_close(value, weights(task, "best.pt")[name])
    assert load_run(uncut).config == settings, "bundle train compares them"
    cut = kill_and_resume(settings, tmp_path / "cut", step=8)
    for name, value in weights(cut, "best.pt").items():
        assert torch.equal(value, weights(uncut, "best.pt")[name]), name


def test_stages_without_masks_follow_from_the_images(folders: tuple[Path, Path]) -> None:
    assert [stage.name for stage in run_stages(config(folders))] == ["teachers", "task"]
    assert run_stages(alone(folders)) == []
    assert run_stages(config(folders, images=[])) == []
    with pytest.raises(UsageError, match="recipe paper"):
        run_stages(config(folders, recipe="paper"))


@pytest.mark.parametrize("changes", [{"recipe": "none"}, {"teachers": []}])
def test_a_training_without_masks_needs_a_teacher(
    folders: tuple[Path, Path], changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="no teacher to learn from"):
        open_data(alone(folders, **changes))


def test_training_frames_count_once_and_validation_is_refused(
    folders: tuple[Path, Path],
) -> None:
    """Training frames count once and validation frames are refused."""
    both = [str(folders[1]), str(folders[0] / "train")]
    assert open_data(alone(folders, images=both, batch_size=1)).steps == TRAIN + FURTHER
    with pytest.raises(DataError, match="is a validation frame"):
        open_data(alone(folders, images=[str(folders[0] / "validation")]))


def test_frames_without_masks_alone_are_no_phantom(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["distill", "--images", str(folders[1])])
    assert ended.value.code == 2
    assert "--data DIR" in capsys.readouterr().err
