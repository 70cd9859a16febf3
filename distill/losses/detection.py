"""Losses of a detection head: centers, sizes, offsets, contrast of boxes, hard frames.

The heat map is compared by the focal loss of CenterNet (Zhou et al., 2019), sizes and offsets by
their absolute error at the centers. ECC-PolypDet (Jiang et al., 2024) adds box-assisted contrast:
the mean feature inside of the boxes of a view shall resemble that of another view, and no view's
mean feature outside of boxes. Its second focal loss, with twice the radius, is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.students.detection import box_probabilities
from edge.evaluation.delimit.base import mask_box, polyp_masks
from edge.imaging.box_maps import Edges, edge_iou, read_boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.students.detection import BoxMaps

SIZE_WEIGHT = 0.1
"""Weight of the error of a size, counted in cells (CenterNet)."""
LEAST_OVERLAP = 0.7
"""IoU that a box with a wrong center keeps inside of the radius of the heat map (CornerNet)."""
TEMPERATURE = 0.2
LEAST_WEIGHT = 0.05
"""Weight of a view all of whose boxes are exact, beside 1 for one without a found box."""


class BoxTargets(NamedTuple):
    """What a detection head shall give for a batch.

    Attributes:
        heat: (B, 1, h, w), 1 at the centers, falling off around them.
        centers: (N, 3) int64: view, row and column of each box.
        size: (N, 2) width and height in shares of the view.
        offset: (N, 2) column and row of the center inside of its cell.
        inside: (B, 1, h, w), 1 in the cells whose centers lie in a box.
        edges: For each view the edges of its boxes, in shares.
    """

    heat: Tensor
    centers: Tensor
    size: Tensor
    offset: Tensor
    inside: Tensor
    edges: list[list[Edges]]

    def to(self, device: torch.device) -> BoxTargets:
        """The same on a device."""
        heat, centers, size, offset, inside = (value.to(device) for value in self[:5])
        return BoxTargets(heat, centers, size, offset, inside, self.edges)


def mask_edges(masks: Tensor) -> list[list[Edges]]:
    """Boxes around the polyps of each view, in shares of it.

    Args:
        masks: (B, 1, H, W), 0 to 1.
    """
    height, width = masks.shape[-2:]
    edges = []
    for mask in (masks[:, 0] >= 0.5).cpu().numpy():
        boxes = [mask_box(polyp) for polyp in polyp_masks(mask)]
        edges.append(
            [(x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h in boxes]
        )
    return edges


def box_targets(edges: Sequence[Sequence[Edges]], grid: tuple[int, int]) -> BoxTargets:
    """Targets of boxes.

    Args:
        edges: For each view the edges of its boxes, in shares.
        grid: Height and width of the head's maps.
    """
    height, width = grid
    heat, inside = np.zeros((2, len(edges), 1, *grid), np.float32)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    centers, sizes, offsets = [], [], []
    for view, boxes in enumerate(edges):
        for left, top, right, low in boxes:
            x, y = (left + right) / 2 * width, (top + low) / 2 * height
            column, row = min(int(x), width - 1), min(int(y), height - 1)
            across, down = (right - left) * width, (low - top) * height
            spread = (2 * gaussian_radius(across, down) + 1) / 6
            distance = (rows - row) ** 2 + (columns - column) ** 2
            blob = np.exp(-distance / (2 * spread**2))
            np.maximum(heat[view, 0], blob, out=heat[view, 0], casting="same_kind")
            covered = ((rows + 0.5) / height >= top) & ((rows + 0.5) / height <= low)
            covered = covered & ((columns + 0.5) / width >= left)
            inside[view, 0][covered & ((columns + 0.5) / width <= right)] = 1
            inside[view, 0, row, column] = 1
            centers.append((view, row, column))
            sizes.append((right - left, low - top))
            offsets.append((x - column, y - row))
    return BoxTargets(
        torch.from_numpy(heat),
        torch.tensor(centers, dtype=torch.int64).reshape(-1, 3),
        torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2),
        torch.tensor(offsets, dtype=torch.float32).reshape(-1, 2),
        torch.from_numpy(inside),
        [list(boxes) for boxes in edges],
    )


def gaussian_radius(width: float, height: float, overlap: float = LEAST_OVERLAP) -> int:
    """Largest whole move of a box's corners that keeps an IoU (Law & Deng, CornerNet, 2018).

    Both corners may move inwards, outwards, or one each way; the smallest of the three radii holds.

    Args:
        width: Width of the box in cells.
        height: Height in cells.
        overlap: Least IoU.
    """
    total, area = width + height, width * height
    radii = (
        _root(1, -total, area * (1 - overlap) / (1 + overlap)),
        _root(4, -2 * total, (1 - overlap) * area),
        _root(4 * overlap, 2 * overlap * total, (overlap - 1) * area),
    )
    return max(0, int(min(radii)))


def _root(a: float, b: float, c: float) -> float:
    """Smallest root of a x^2 + b x + c that is not negative."""
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return min(value for value in ((-b - root) / (2 * a), (-b + root) / (2 * a)) if value >= 0)


def focal_loss(logits: Tensor, heat: Tensor, weight: Tensor) -> Tensor:
    """CenterNet's focal loss over all cells of a batch, for each center.

    Args:
        logits: (B, 1, h, w).
        heat: (B, 1, h, w), 1 at the centers.
        weight: (B,) weight of each view.

    Returns:
        A scalar.
    """
    scores = torch.sigmoid(logits)
    at_center = (1 - scores) ** 2 * F.logsigmoid(logits)
    elsewhere = (1 - heat) ** 4 * scores**2 * F.logsigmoid(-logits)
    centers = heat == 1
    cells = torch.where(centers, at_center, elsewhere)
    return -(weight * cells.sum(dim=(1, 2, 3))).sum() / centers.sum().clamp_min(1)


def box_errors(maps: BoxMaps, targets: BoxTargets, weight: Tensor) -> Tensor:
    """Absolute errors of size and offset, mean over the centers; 0 without any.

    Args:
        maps: Logits.
        targets: Of the same views.
        weight: (B,) weight of each view.
    """
    if not len(targets.centers):
        return maps.size.sum() * 0.0
    view, row, column = targets.centers.unbind(1)
    cells = torch.tensor([maps.size.shape[-1], maps.size.shape[-2]], device=maps.size.device)
    size = (torch.sigmoid(maps.size[view, :, row, column]) - targets.size).abs() * cells
    offset = (torch.sigmoid(maps.offset[view, :, row, column]) - targets.offset).abs()
    errors: Tensor = (SIZE_WEIGHT * size + offset).sum(dim=1) * weight[view]
    return errors.mean()


def contrast_loss(features: Tensor, inside: Tensor, order: Tensor | None = None) -> Tensor:
    """Box-assisted contrastive loss of ECC-PolypDet.

    With z the unit mean feature inside of the boxes of a view and b outside of them,

        -log( exp(z_i z_p / t) / (exp(z_i z_p / t) + sum_j exp(z_i b_j / t)) )

    where p is another view with boxes and j runs over all views.

    Args:
        features: (B, C, h, w).
        inside: (B, 1, h, w), 1 inside of boxes.
        order: Partner of each view with boxes, a permutation of them; None draws one.

    Returns:
        Mean over the views with boxes, a scalar; 0 with fewer than two of them.
    """
    boxed = inside.sum(dim=(1, 2, 3)) > 0
    count = int(boxed.sum())
    if count < 2:
        return features.sum() * 0.0
    polyps = F.normalize(_mean(features, inside)[boxed], dim=1)
    background = F.normalize(_mean(features, 1 - inside), dim=1)
    if order is None:
        order = torch.randperm(count).to(polyps.device)
    alike = (polyps * polyps[order]).sum(dim=1, keepdim=True) / TEMPERATURE
    unlike = polyps @ background.T / TEMPERATURE
    return (torch.logsumexp(torch.cat([alike, unlike], dim=1), dim=1) - alike[:, 0]).mean()


def _mean(features: Tensor, where: Tensor) -> Tensor:
    """Mean (B, C) over the cells in which `where` is 1; 0 where there are none."""
    return (features * where).sum(dim=(2, 3)) / where.sum(dim=(2, 3)).clamp_min(1)


def hard_frame_weights(maps: BoxMaps, edges: Sequence[Sequence[Edges]]) -> Tensor:
    """Weight of each view: 1 less the mean IoU of its boxes, and at least `LEAST_WEIGHT`.

    ECC-PolypDet computes it once, after a first training, for a second one; here it is that of the
    student as it is. A view without a polyp counts as exact if no box is found, and else as missed.

    Args:
        maps: Logits.
        edges: For each view the edges of its boxes, in shares.

    Returns:
        (B,) with a mean of 1.
    """
    heat, size, offset = (value.cpu().float().numpy() for value in box_probabilities(maps))
    weights = []
    for number, boxes in enumerate(edges):
        detected = [box.edges for box in read_boxes(heat[number], size[number], offset[number])]
        if boxes:
            ious = [max((edge_iou(box, other) for other in detected), default=0.0) for box in boxes]
            fit = float(np.mean(ious))
        else:
            fit = 0.0 if detected else 1.0
        weights.append(max(1 - fit, LEAST_WEIGHT))
    tensor = torch.tensor(weights, device=maps.heat.device)
    return tensor / tensor.mean()


def detection_loss(
    maps: BoxMaps, masks: Tensor, *, contrast_weight: float, hard_frames: bool
) -> Tensor:
    """The whole loss of a detection head.

    Args:
        maps: Logits.
        masks: (B, 1, H, W) of the same views, 0 to 1.
        contrast_weight: Weight of `contrast_loss`.
        hard_frames: Whether views are weighted by `hard_frame_weights`.

    Returns:
        A scalar.
    """
    device = maps.heat.device
    targets = box_targets(mask_edges(masks), (maps.heat.shape[-2], maps.heat.shape[-1]))
    targets = targets.to(device)
    weight = (
        hard_frame_weights(maps, targets.edges)
        if hard_frames
        else torch.ones(len(masks), device=device)
    )
    loss = focal_loss(maps.heat, targets.heat, weight) + box_errors(maps, targets, weight)
    if contrast_weight:
        loss = loss + contrast_weight * contrast_loss(maps.features, targets.inside)
    return loss
