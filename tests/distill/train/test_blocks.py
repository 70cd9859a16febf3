"""Recipe `blocks`: new early stages learn the outputs of the pretrained ones, without masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.config import find_config, make_config, read_config_file
from distill.data.load import open_data
from distill.run_folder import load_checkpoint, load_run
from distill.students.build import build_student
from distill.train.runs import start_run
from distill.train.stages import run_stages, stage_config, stage_path
from distill.train.trainer import Trainer
from edge.errors import UsageError
from quantize.runs.train import train_qat
from tests.support.discs import write_discs
from tests.support.killed_run import kill_and_resume

TRAIN, VALIDATION, FURTHER = 6, 3, 5


@pytest.fixture(autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests."""
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path_factory.getbasetemp() / "blocks"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bright discs with their masks, and discs without any."""
    root = tmp_path_factory.mktemp("frames")
    write_discs(root, {"discs/train": TRAIN, "discs/validation": VALIDATION, "further": FURTHER})
    return root / "discs", root / "further"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a plain student, whose BatchNorms have seen something."""
    torch.manual_seed(1)
    student = build_student("edge-xs", pretrained=False).train()
    with torch.no_grad():
        for _ in range(20):
            student(torch.randn(4, 3, 64, 64))
    path = tmp_path_factory.mktemp("plain") / "weights.pt"
    torch.save(student.state_dict(), path)
    return path


def config(folders: tuple[Path, Path], plain: Path, **changes: Any) -> Any:
    settings: dict[str, Any] = {"student": "edge-xs", "early": "fused-x8", "size": 64}
    settings |= {"epochs": 4, "batch_size": 2, "recipe": "blocks", "lr": 0.01}
    settings |= {"pretrained": False, "start": str(plain), "weight_decay": 0.1}
    settings |= {"data": [str(folders[0])], "images": [str(folders[1])]}
    return make_config(settings | changes)


def test_only_the_new_stages_learn_and_they_come_nearer(
    folders: tuple[Path, Path], plain: Path, tmp_path: Path
) -> None:
    settings = config(folders, plain)
    data = open_data(settings)
    assert data.steps == (TRAIN + FURTHER) // 2
    trainer = Trainer(tmp_path, settings, data)
    before = {name: value.clone() for name, value in trainer.student.state_dict().items()}
    trainer.prepare_epoch()
    losses = [trainer.train_step(batch) for epoch in range(4) for batch in data.batches(epoch)]
    assert losses[0]["task"] == 0
    assert losses[0]["loss"] == pytest.approx(losses[0]["distill"])
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    moved = {
        name
        for name, value in trainer.student.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved
    assert all(name.startswith(trainer.student.lacks) for name in moved)
    named = [name for name, _ in trainer.student.named_parameters()]
    assert [name for name in named if name.startswith(trainer.student.lacks)] == [
        name for name in named if name in moved
    ], "each new weight has learned"


def test_each_block_is_given_what_the_original_gives(
    folders: tuple[Path, Path], plain: Path, tmp_path: Path
) -> None:
    """The distance of the second block does not depend on the first one."""
    trainer = Trainer(tmp_path, config(folders, plain), open_data(config(folders, plain)))
    objective: Any = trainer.objective.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        first = objective.distances(images, trainer.student)
        for parameter in trainer.student.stages()[0].parameters():
            parameter.add_(1.0)
        second = objective.distances(images, trainer.student)
    assert first[0] != second[0]
    assert torch.equal(first[1], second[1])
    assert not [one for one in objective.original.parameters() if one.requires_grad]


def test_a_run_of_blocks_and_then_the_task(
    folders: tuple[Path, Path], plain: Path, tmp_path: Path
) -> None:
    stages = [
        {"name": "blocks", "averaged": False, "settings": {"recipe": "blocks", "epochs": 2}},
        {"name": "task", "after": "blocks", "settings": {"epochs": 1}},
    ]
    settings = config(folders, plain, recipe="none", stages=stages, checkpoint_minutes=1e-9)
    blocks, task = [stage_config(settings, one, tmp_path) for one in run_stages(settings)]
    assert blocks.data.images
    assert not task.data.images
    assert blocks.taught_by == []
    run = start_run(settings, out=tmp_path / "whole")
    first = load_run(stage_path(run, "blocks"))
    assert first.metrics["score"] == -first.metrics["distill_val"]
    assert load_run(run).config == settings
    with pytest.raises(UsageError, match="has not learned the task"):
        train_qat(stage_path(run, "blocks"))
    cut = kill_and_resume(settings, tmp_path / "cut", step=7)
    complete, resumed = (load_checkpoint(one / "checkpoints" / "best.pt") for one in (run, cut))
    for name, value in complete["student"].items():
        assert torch.equal(value, resumed["student"][name]), name


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"early": "lite"}, "nothing to teach"),
        ({"student": "unet-32", "early": "lite", "start": ""}, "nothing to teach"),
        ({"start": ""}, "no weights to learn from"),
        ({"unlabeled": ["further"], "ema": 0.9}, "reads no pseudo-labels"),
    ],
)
def test_what_blocks_cannot_teach_is_refused(
    folders: tuple[Path, Path], plain: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    if "unlabeled" in changes:
        changes = changes | {"unlabeled": [str(folders[1])], "images": []}
    settings = config(folders, plain, **changes)
    with pytest.raises(UsageError, match=reason):
        Trainer(tmp_path, settings, open_data(settings))


def test_the_shipped_configuration_learns_blocks_first() -> None:
    values = read_config_file(find_config(Path("edge-s-fused")))
    settings = make_config({"data": ["DIR"], "images": ["FRAMES"], **values})
    blocks, *_ = [stage_config(settings, one, None) for one in run_stages(settings)]
    assert blocks.loss.recipe == "blocks"
    assert blocks.data.images == ["FRAMES"]
