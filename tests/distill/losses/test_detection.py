"""Losses of a detection head against plain sums, and what they teach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.losses.detection import (
    LEAST_WEIGHT,
    SIZE_WEIGHT,
    TEMPERATURE,
    box_errors,
    box_targets,
    contrast_loss,
    detection_loss,
    focal_loss,
    gaussian_radius,
    hard_frame_weights,
    mask_edges,
)
from distill.students.detection import BoxMaps, DetectionHead


def masks(*boxes: tuple[int, int, int, int] | None, side: int = 64) -> Tensor:
    batch = torch.zeros(len(boxes), 1, side, side)
    for view, box in enumerate(boxes):
        if box is not None:
            x, y, width, height = box
            batch[view, 0, y : y + height, x : x + width] = 1
    return batch


def random_maps(batch: int, grid: int = 16, *, seed: int = 0, **keywords: Any) -> BoxMaps:
    torch.manual_seed(seed)
    shapes = ((1, "heat"), (2, "size"), (2, "offset"), (8, "features"))
    return BoxMaps(*(torch.randn(batch, count, grid, grid, **keywords) for count, _ in shapes))


def exact_maps(masks_of_frames: Tensor, grid: int = 16) -> BoxMaps:
    """Logits that say exactly what the boxes of masks are."""
    targets = box_targets(mask_edges(masks_of_frames), (grid, grid))
    heat = torch.full((len(masks_of_frames), 1, grid, grid), -8.0)
    size, offset = torch.zeros(2, len(masks_of_frames), 2, grid, grid)
    for (view, row, column), share, inside in zip(
        targets.centers.tolist(), targets.size, targets.offset, strict=True
    ):
        heat[view, 0, row, column] = 8.0
        size[view, :, row, column] = torch.logit(share)
        offset[view, :, row, column] = torch.logit(inside, eps=1e-6)
    return BoxMaps(heat, size, offset, torch.zeros(len(masks_of_frames), 4, grid, grid))


def test_targets_of_a_box_by_hand() -> None:
    frame_masks = masks((8, 16, 24, 20), None)
    assert mask_edges(frame_masks) == [[(8 / 64, 16 / 64, 32 / 64, 36 / 64)], []]
    targets = box_targets(mask_edges(frame_masks), (16, 16))
    assert targets.centers.tolist() == [[0, 6, 5]]
    assert targets.size.tolist() == [[24 / 64, 20 / 64]]
    assert targets.offset.tolist() == [[0.0, 0.5]]
    assert targets.heat[0, 0, 6, 5] == 1
    assert (targets.heat == 1).sum() == 1
    assert targets.heat[1].sum() == 0
    assert 0 < targets.heat[0, 0, 6, 6] < 1
    assert targets.inside[0, 0].nonzero().tolist() == [
        [row, column] for row in range(4, 9) for column in range(2, 8)
    ]


def test_the_radius_keeps_the_overlap() -> None:
    """The smallest radius at which one of the three moves reaches the IoU, found by search."""
    for width, height in ((10.0, 10.0), (30.0, 8.0), (2.0, 3.0), (17.5, 40.0)):
        area = width * height

        def ious(r: float, w: float = width, h: float = height, a: float = area) -> list[float]:
            shifted = max(w - r, 0) * max(h - r, 0)
            inner = max(w - 2 * r, 0) * max(h - 2 * r, 0)
            return [shifted / (2 * a - shifted), inner / a, a / ((w + 2 * r) * (h + 2 * r))]

        steps = np.arange(0, 40, 1e-3)
        limits = [min(r for r in steps if ious(r)[move] < 0.7) for move in range(3)]
        assert gaussian_radius(width, height) == int(min(limits) - 1e-3)


def test_focal_loss_equals_its_definition() -> None:
    maps = random_maps(2, 4)
    targets = box_targets(
        [[(0.1, 0.1, 0.6, 0.7)], [(0.5, 0.5, 1.0, 1.0), (0, 0, 0.2, 0.2)]], (4, 4)
    )
    weight = torch.tensor([0.5, 1.5])
    total = 0.0
    for view in range(2):
        for row in range(4):
            for column in range(4):
                p = 1 / (1 + math.exp(-float(maps.heat[view, 0, row, column])))
                y = float(targets.heat[view, 0, row, column])
                term = (
                    (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
                )
                total -= float(weight[view]) * term
    assert float(focal_loss(maps.heat, targets.heat, weight)) == pytest.approx(total / 3, rel=1e-5)


def test_errors_of_boxes_equal_their_definition() -> None:
    maps = random_maps(2, 8)
    targets = box_targets([[(0.1, 0.2, 0.6, 0.7)], [(0.5, 0.5, 0.9, 1.0)]], (8, 8))
    weight = torch.tensor([0.5, 1.5])
    total = 0.0
    for (view, row, column), size, offset in zip(
        targets.centers.tolist(), targets.size, targets.offset, strict=True
    ):
        for axis in range(2):
            predicted = torch.sigmoid(maps.size[view, axis, row, column])
            place = torch.sigmoid(maps.offset[view, axis, row, column])
            error = SIZE_WEIGHT * 8 * abs(predicted - size[axis]) + abs(place - offset[axis])
            total += float(weight[view] * error)
    assert float(box_errors(maps, targets, weight)) == pytest.approx(total / 2, rel=1e-5)
    none = box_targets([[], []], (8, 8))
    assert float(box_errors(maps, none, weight)) == 0


def test_contrast_equals_its_definition() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 5, 6, 6)
    inside = torch.zeros(3, 1, 6, 6)
    inside[0, 0, :3, :3] = inside[2, 0, 2:, 2:] = 1
    order = torch.tensor([1, 0])

    def unit(view: int, where: Tensor) -> Tensor:
        mean = features[view][:, where[view, 0] > 0].mean(dim=1)
        unit_mean: Tensor = mean / mean.norm()
        return unit_mean

    polyps = [unit(0, inside), unit(2, inside)]
    background = [unit(view, 1 - inside) for view in range(3)]
    expected = []
    for one, other in zip(polyps, reversed(polyps), strict=True):
        same = torch.exp(one @ other / TEMPERATURE)
        others = sum(torch.exp(one @ b / TEMPERATURE) for b in background)
        expected.append(-torch.log(same / (same + others)))
    loss = contrast_loss(features, inside, order)
    assert float(loss) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)
    inside[2] = 0
    assert float(contrast_loss(features, inside)) == 0, "one view has no partner"


def test_hard_frames_weigh_more() -> None:
    frame_masks = masks((8, 16, 24, 20), (30, 30, 20, 20), None, None)
    maps = exact_maps(frame_masks)
    maps.heat[1] = -8.0
    maps.heat[3, 0, 5, 5] = 4.0
    weights = hard_frame_weights(maps, mask_edges(frame_masks))
    expected = torch.tensor([LEAST_WEIGHT, 1.0, LEAST_WEIGHT, 1.0])
    assert torch.allclose(weights, expected / expected.mean(), atol=1e-4)
    assert weights.mean() == pytest.approx(1.0)


def test_exact_maps_have_the_least_loss() -> None:
    frame_masks = masks((8, 16, 24, 20), (30, 30, 20, 20))
    maps = exact_maps(frame_masks)
    least = detection_loss(maps, frame_masks, contrast_weight=0.0, hard_frames=False)
    assert float(least) < 0.01
    moved = maps._replace(heat=maps.heat.roll(3, dims=3))
    assert float(detection_loss(moved, frame_masks, contrast_weight=0.0, hard_frames=False)) > 1
    smaller = maps._replace(size=maps.size - 1)
    assert float(detection_loss(smaller, frame_masks, contrast_weight=0.0, hard_frames=False)) > 0.1


@pytest.mark.parametrize("hard", [False, True])
def test_every_output_takes_a_finite_gradient(hard: bool) -> None:
    torch.manual_seed(0)
    head = DetectionHead(6)
    features = torch.randn(3, 6, 16, 16, requires_grad=True)
    frame_masks = masks((8, 16, 24, 20), (30, 30, 20, 20), None)
    detection_loss(head(features), frame_masks, contrast_weight=0.3, hard_frames=hard).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0
    empty = masks(None, None, None)
    loss = detection_loss(head(features), empty, contrast_weight=0.3, hard_frames=hard)
    loss.backward()
    assert loss.isfinite()


def test_the_gradient_is_that_of_finite_differences() -> None:
    maps = random_maps(2, 4, dtype=torch.float64)
    frame_masks = masks((8, 16, 24, 20), (30, 30, 20, 20))

    def loss(*values: Tensor) -> Tensor:
        targets = box_targets(mask_edges(frame_masks), (4, 4))
        box_maps = BoxMaps(*values)
        ones = torch.ones(2, dtype=torch.float64)
        return (
            focal_loss(box_maps.heat, targets.heat.double(), ones)
            + box_errors(box_maps, targets, ones)
            + contrast_loss(box_maps.features, targets.inside.double(), torch.tensor([1, 0]))
        )

    inputs = [value.requires_grad_() for value in maps]
    assert torch.autograd.gradcheck(loss, inputs)
