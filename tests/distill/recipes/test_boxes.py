"""Learning from boxes: the fusion filter, its targets, their loss, and whole runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

from distill.config import DistillConfig, make_config
from distill.data.augment import random_affine, theta_batch
from distill.data.batch import Batch, Boxed, BoxLabels, Step, Unlabeled
from distill.data.load import open_data
from distill.recipes.boxes import (
    box_iou,
    fusion_filter,
    inside_boxes,
    known_pixels_loss,
    label_boxes,
    open_pixels_loss,
)
from distill.recipes.objectives import Objective
from distill.run_folder import load_checkpoint
from distill.train.runs import start_run
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError
from edge_difom.cli.distill import distill
from quantize.runs.folder import QatConfig
from quantize.runs.train import train_qat
from tests.support.killed_run import kill_and_resume
from tests.support.redness import Redness

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IDENTITY = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


def plain_filter(
    pseudo: NDArray[np.bool_], boxes: NDArray[np.float64], least: float
) -> tuple[NDArray[np.bool_], int]:
    """The fusion filter, pixel by pixel and box by box."""
    count, pieces = cv2.connectedComponents(pseudo.astype(np.uint8), connectivity=8)
    inside = [
        np.array(
            [
                [x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2 for x in range(pseudo.shape[1])]
                for y in range(pseudo.shape[0])
            ]
        )
        for x1, y1, x2, y2 in boxes
    ]
    owned: list[list[int]] = [[] for _ in boxes]
    for piece in range(1, count):
        covered = [int(np.sum((pieces == piece) & box)) for box in inside]
        if covered and max(covered) > 0:
            owned[covered.index(max(covered))].append(piece)
    filtered, fitting = np.zeros_like(pseudo), 0
    for own, box, within in zip(owned, boxes, inside, strict=True):
        if not own:
            continue
        y, x = np.nonzero(np.isin(pieces, own))
        around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)
        sides = [min(around[n + 2], box[n + 2]) - max(around[n], box[n]) for n in (0, 1)]
        both = max(sides[0], 0) * max(sides[1], 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (around, box)]
        if both / (sum(areas) - both) >= least:
            filtered |= np.isin(pieces, own) & within
            fitting += 1
    return filtered, fitting


@pytest.mark.parametrize("seed", range(60))
def test_the_filter_is_the_plain_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    least = rng.uniform(0.05, 0.95)
    pseudo = cv2.blur(rng.random((14, 17)), (3, 3)) > 0.52
    corners = rng.uniform(0, 10, (int(rng.integers(0, 4)), 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 8, corners.shape)], axis=1)
    filtered, fitting = fusion_filter(pseudo, boxes, least)
    expected, count = plain_filter(pseudo, boxes, least)
    assert np.array_equal(filtered, expected)
    assert fitting == count


def test_a_pseudo_mask_that_leaks_out_of_its_box_is_not_kept() -> None:
    pseudo = np.zeros((40, 40), bool)
    pseudo[10:20, 10:20] = True
    box = np.array([[10.0, 10, 20, 20]])
    filtered, fitting = fusion_filter(pseudo, box, 0.9)
    assert np.array_equal(filtered, pseudo)
    assert fitting == 1
    pseudo[12, 20:40] = True
    filtered, fitting = fusion_filter(pseudo, box, 0.5)
    assert fitting == 0
    assert not filtered.any()
    assert box_iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 1, 3, 3])) == pytest.approx(1 / 7)
    assert box_iou(np.array([0.0, 0, 1, 1]), np.array([2.0, 2, 3, 3])) == 0


def _frames(disc: NDArray[np.uint8], theta: Tensor = IDENTITY) -> Unlabeled:
    weak = (torch.from_numpy(disc.astype(np.float32)) / 255 * 12 - 6)[None, None].repeat(1, 3, 1, 1)
    return Unlabeled(weak, torch.zeros_like(weak), theta, torch.ones(1, 1, *disc.shape))


def test_targets_are_masks_inside_boxes_and_background_outside() -> None:
    """Targets are background outside of boxes and fitting masks inside."""
    disc = cv2.circle(np.zeros((64, 64), np.uint8), (40, 24), 12, 255, -1)
    disc[50:54, 4:8] = 255  # a false alarm outside of the box
    box = torch.tensor([[28 / 64, 12 / 64, 53 / 64, 37 / 64]])
    frames = _frames(disc)
    labels = label_boxes(Redness().train(), Boxed(frames, [box]), 0.7)
    inside = inside_boxes(box.numpy() * 64, (64, 64))[0]
    assert labels.kept.item() == 1
    assert np.array_equal(labels.masks[0, 0].numpy() > 0.5, (disc > 0) & inside)
    assert np.array_equal(labels.known[0, 0].numpy() > 0.5, (disc > 0) & inside | ~inside)
    assert not labels.scores.requires_grad
    loose = torch.tensor([[0.3, 0.1, 0.9, 0.9]])
    labels = label_boxes(Redness(), Boxed(frames, [loose]), 0.7)
    assert labels.kept.item() == 0
    assert not labels.masks.any()
    assert np.array_equal(
        labels.known[0, 0].numpy() > 0.5, ~inside_boxes(loose.numpy() * 64, (64, 64))[0]
    )
    nothing = label_boxes(Redness(), Boxed(frames, [torch.zeros(0, 4)]), 0.7)
    assert bool(nothing.known.all())
    assert not nothing.masks.any()


def test_targets_follow_the_view_and_its_black_parts() -> None:
    """Targets follow the view and what it blacked out is background."""
    disc = cv2.circle(np.zeros((64, 64), np.uint8), (36, 28), 14, 255, -1)
    box = torch.tensor([[22 / 64, 14 / 64, 51 / 64, 43 / 64]])
    theta = theta_batch([random_affine(np.random.default_rng(0), (0.9, 1.1))])
    frames = _frames(disc, theta)
    frames.visible[..., :32] = 0
    labels = label_boxes(Redness(), Boxed(frames, [box]), 0.7)
    assert not labels.masks[..., :32].any()
    assert bool((labels.known[..., :32] == 1).all())
    moved = F.grid_sample(
        torch.from_numpy(disc > 0).float()[None, None],
        F.affine_grid(theta, [1, 1, 64, 64], align_corners=False),
        padding_mode="reflection",
        align_corners=False,
    )
    assert torch.equal(labels.masks[..., 32:] > 0.5, moved[..., 32:] > 0.5)


def test_the_losses_read_their_own_pixels_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 6, 6, generator=rng, requires_grad=True)
    masks = (torch.rand(2, 1, 6, 6, generator=rng) > 0.5).float()
    certain = torch.zeros(2, 1, 6, 6)
    certain[..., :3] = 1
    masks[1] = 0
    loss = known_pixels_loss(logits, masks, certain)
    scores = torch.sigmoid(logits.detach()).numpy()
    expected = []
    for s, m in zip(scores[:, 0, :, :3], masks[:, 0, :, :3].numpy(), strict=True):
        entropy = -np.mean(m * np.log(s) + (1 - m) * np.log(1 - s))
        inter, both = (s * m).sum(), (s + m).sum()
        iou = 1 - (inter + 1) / (both - inter + 1) if m.any() else 0
        expected.append(entropy + iou)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool((gradient[..., 3:] == 0).all())
    other = torch.rand(2, 1, 6, 6, generator=rng)
    apart = open_pixels_loss(logits, other, certain)
    squares = (scores - other.numpy())[..., 3:] ** 2
    assert apart.item() == pytest.approx(squares.sum() / 72, rel=1e-5)
    (gradient,) = torch.autograd.grad(apart, logits)
    assert bool((gradient[..., :3] == 0).all())


def test_the_objective_adds_the_weighted_losses() -> None:
    settings = make_config(
        {"data": ["x"], "recipe": "none", "box_weight": 0.5, "box_consistency_weight": 3.0}
    )
    objective = Objective(Redness(), settings.loss, settings.run)
    images, masks = torch.randn(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    certain = (torch.rand(2, 1, 8, 8) > 0.5).float()
    labels = BoxLabels(
        torch.randn(2, 3, 8, 8), masks, certain, torch.rand(2, 1, 8, 8), torch.tensor(0.25)
    )
    losses = objective(Batch(images, masks, [], box_labels=labels), Step(0, 0))
    logits = labels.images[:, :1]
    expected = known_pixels_loss(logits, masks, certain)
    expected = expected + 3 * open_pixels_loss(logits, labels.scores, certain)
    torch.testing.assert_close(losses.total, losses.task + 0.5 * expected)
    figures = losses.figures()
    assert set(figures) == {"loss", "task", "boxes", "boxes_kept"}
    assert figures["boxes_kept"] == 0.25


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The phantom with masks, and other frames of it with the boxes of their masks."""
    root = tmp_path_factory.mktemp("boxes")
    write_dataset(root / "data", train=8, validation=3, negatives=0, seed=1, size=(72, 80))
    write_dataset(root / "more", train=6, validation=1, negatives=0, seed=2, size=(72, 80))
    more = root / "more" / "train"
    pictures = []
    for path in sorted((more / "masks").iterdir()):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        x, y, width, height = cv2.boundingRect(mask)
        box = {"label": "polyp", "x": x, "y": y, "width": width, "height": height}
        image = next((more / "images").glob(f"{path.stem}.*")).name
        pictures.append({"image": image, "width": 80, "height": 72, "boxes": [box]})
    (more / "boxes.json").write_text(json.dumps(pictures))
    return root / "data", more / "boxes.json"


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))


def config(folders: tuple[Path, Path], **changes: object) -> DistillConfig:
    settings = {
        "data": [str(folders[0])], "boxes": [str(folders[1])], "box_share": 0.5,
        "recipe": "none", "student": "edge-xs", "pretrained": False, "size": 64, "epochs": 2,
        "batch_size": 4, "ema": 0.9, "shifted_views": 0.5, "box_fit": 0.1,
    }  # fmt: skip
    return make_config(settings | changes)


def test_what_does_not_go_with_boxes_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="boxes are filled by the average"):
        open_data(config(folders, ema=0.0))
    with pytest.raises(UsageError, match="boxes are filled by the average"):
        open_data(config(folders, recipe="paper"))
    with pytest.raises(UsageError, match="leaves no frame with boxes"):
        open_data(config(folders, box_share=0.01))
    with pytest.raises(UsageError, match="2 frames with boxes of a batch"):
        start_run(config(folders, batch_size=4, accumulate=4))


def test_a_batch_holds_its_share_of_frames_with_boxes(folders: tuple[Path, Path]) -> None:
    data = open_data(config(folders))
    assert (data.order.boxed_in_batch, data.steps) == (2, 4)
    batch = next(data.batches(0))
    assert len(batch.images) == 2
    assert batch.boxed is not None
    assert len(batch.boxed.boxes) == len(batch.boxed.frames.weak) == 2
    assert all(boxes.min() >= 0 and boxes.max() <= 1 for boxes in batch.boxed.boxes)
    assert batch.unlabeled is None


@pytest.mark.slow
def test_a_killed_run_with_boxes_continues_bit_for_bit(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """A killed run with boxes continues bit for bit and is quantized."""
    settings = config(folders, checkpoint_minutes=1e-9)
    uncut = start_run(settings, out=tmp_path / "whole")
    assert '"boxes_kept"' in (uncut / "metrics.jsonl").read_text()
    cut = kill_and_resume(settings, tmp_path / "cut", step=6)
    left, right = (
        load_checkpoint(run / "checkpoints" / "last.pt")["student"] for run in (uncut, cut)
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    quantized = train_qat(uncut, QatConfig(epochs=1, calibration=4, max_drop=1, max_small_drop=1))
    assert (quantized.path / "engines").is_dir()


@pytest.mark.slow
def test_the_command_trains_on_boxes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    settings = ["ema=0.9", "pretrained=false", "batch_size=4", "size=64", "epochs=1", "recipe=none"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(
        distill,
        ["--data", str(folders[0]), "--boxes", str(folders[1]), "--student", "edge-xs",
         "--out", str(tmp_path / "run"), *arguments],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "splits.json").read_text())["boxed"]
