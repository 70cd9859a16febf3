"""Frames without masks: pseudo-labels of the averaged student, and the loss that they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from distill.config import DistillConfig, make_config
from distill.data.augment import random_affine, theta_batch, warp
from distill.data.batch import Batch, PseudoLabels, Step, Unlabeled
from distill.data.load import open_data
from distill.recipes.consistency import SURE, consistency_loss, pseudo_label
from distill.recipes.objectives import Objective
from distill.run_folder import load_checkpoint
from distill.train.runs import start_run
from edge.errors import DataError, UsageError
from tests.support.discs import write_discs
from tests.support.killed_run import kill_and_resume
from tests.support.redness import Redness

if TYPE_CHECKING:
    from pathlib import Path


def test_pseudo_labels_follow_the_geometry_and_count_if_sure() -> None:
    """Pseudo labels follow the geometry and count where they are sure."""
    rng = np.random.default_rng(0)
    disc = cv2.circle(np.zeros((64, 64), np.uint8), (40, 24), 12, 255, -1)
    theta = random_affine(rng, (0.9, 1.1))
    weak = (torch.from_numpy(disc.astype(np.float32)) / 255 * 12 - 6)[None, None].repeat(1, 3, 1, 1)
    visible = torch.ones(1, 1, 64, 64)
    visible[..., :10] = 0
    labels = pseudo_label(
        Redness().train(), Unlabeled(weak, torch.zeros_like(weak), theta_batch([theta]), visible)
    )
    moved = warp(disc, theta).astype(np.float32) / 255
    sure = labels.sure[0, 0].numpy() > 0
    assert sure[:, 10:].mean() > 0.8
    assert not sure[:, :10].any()
    assert np.array_equal(labels.scores[0, 0].numpy()[sure] > 0.5, moved[sure] > 0.5)
    assert not labels.scores.requires_grad
    doubtful = pseudo_label(
        Redness(), Unlabeled(0 * weak, weak, theta_batch([theta]), torch.ones(1, 1, 64, 64))
    )
    assert float(doubtful.sure.sum()) == 0


def test_the_loss_is_the_cross_entropy_of_sure_pixels() -> None:
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    scores, sure = torch.full((1, 1, 4, 4), SURE), torch.zeros(1, 1, 4, 4)
    sure[..., :2] = 1
    loss = consistency_loss(logits, PseudoLabels(torch.zeros(1, 3, 4, 4), scores, sure))
    assert loss.item() == pytest.approx(np.log(2) / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool((gradient[..., :2] < 0).all())
    assert bool((gradient[..., 2:] == 0).all())


def test_the_objective_adds_the_weighted_loss() -> None:
    settings = make_config({"data": ["x"], "recipe": "none", "consistency_weight": 0.5})
    objective = Objective(Redness(), settings.loss, settings.run)
    images, masks = torch.randn(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    labels = PseudoLabels(torch.randn(2, 3, 8, 8), torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
    losses = objective(Batch(images, masks, [], pseudo=labels), Step(0, 0))
    assert losses.consistency is not None
    torch.testing.assert_close(losses.total, losses.task + 0.5 * losses.consistency)
    assert set(losses.figures()) == {"loss", "task", "consistency"}
    assert objective(Batch(images, masks, []), Step(0, 0)).consistency is None


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bright discs with their masks, and discs without any."""
    root = tmp_path_factory.mktemp("consistency")
    write_discs(root, {"discs/train": 8, "discs/validation": 3, "more": 6}, rows=(20, 52))
    return root / "discs", root / "more"


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))


def config(folders: tuple[Path, Path], **changes: object) -> DistillConfig:
    settings = {
        "data": [str(folders[0])], "unlabeled": [str(folders[1])], "unlabeled_share": 0.5,
        "recipe": "none", "student": "edge-xs", "pretrained": False, "size": 64, "epochs": 2,
        "batch_size": 4, "ema": 0.9, "shifted_views": 0.5,
    }  # fmt: skip
    return make_config(settings | changes)


def test_unlabeled_frames_need_an_average(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="average of the weights"):
        open_data(config(folders, ema=0.0))


def test_a_validation_frame_is_no_unlabeled_frame(folders: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="is a validation frame"):
        open_data(config(folders, unlabeled=[str(folders[0] / "validation")]))


def test_a_batch_holds_its_share_of_frames_without_masks(folders: tuple[Path, Path]) -> None:
    data = open_data(config(folders))
    assert (data.order.unlabeled_in_batch, data.steps) == (2, 4)
    batch = next(data.batches(0))
    assert len(batch.images) == 2
    assert batch.unlabeled is not None
    assert batch.unlabeled.weak.shape == batch.unlabeled.strong.shape == (2, 3, 64, 64)
    assert not torch.equal(batch.unlabeled.weak, batch.unlabeled.strong)
    assert next(open_data(config(folders, unlabeled=[])).batches(0)).unlabeled is None


def test_a_killed_run_with_pseudo_labels_continues_bit_for_bit(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = config(folders, checkpoint_minutes=1e-9)
    uncut = start_run(settings, out=tmp_path / "whole")
    assert '"consistency"' in (uncut / "metrics.jsonl").read_text()
    cut = kill_and_resume(settings, tmp_path / "cut", step=6)
    left, right = (
        load_checkpoint(run / "checkpoints" / "last.pt")["student"] for run in (uncut, cut)
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
