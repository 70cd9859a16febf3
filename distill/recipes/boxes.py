"""Learn from boxes: pseudo-masks where they fit their box, consistency where they do not.

After BoxPolyp (Wei et al., MICCAI 2022). Its fusion filter keeps a pseudo-mask that fits the box;
two students then learn from the pixels on which both agree, and from each other on the rest. Here
the second student is the average of the weights (`distill.train.ema`), which also gives the
pseudo-masks, anew in every step. A box is certain: outside of all boxes there is no polyp, whatever
the pseudo-mask says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data.augment import warp_maps
from distill.data.batch import BoxLabels
from distill.losses.auxiliary import resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distill.data.batch import Boxed
    from distill.students.base import Student
    from edge.frame import MaskBool

POLYP = 0.5
"""Probability from which a pixel belongs to the pseudo-mask."""


def inside_boxes(boxes: NDArray[np.float64], size: tuple[int, int]) -> MaskBool:
    """Pixels (K, H, W) whose center lies in each box.

    Args:
        boxes: (K, 4) left, upper, right and lower edge in pixels.
        size: H, W.
    """
    y, x = (np.arange(side) + 0.5 for side in size)
    left, upper, right, lower = (boxes[:, edge, None] for edge in range(4))
    columns, rows = (left <= x) & (x < right), (upper <= y) & (y < lower)
    inside: MaskBool = rows[:, :, None] & columns[:, None, :]
    return inside


def fusion_filter(
    pseudo: MaskBool, boxes: NDArray[np.float64], least: float
) -> tuple[MaskBool, int]:
    """Keep the pseudo-masks that fit their boxes.

    A connected piece belongs to the box that contains most of it. The pieces of a box fit if the
    IoU of their bounding box with it is at least `least`.

    Args:
        pseudo: (H, W) pseudo-mask of a frame.
        boxes: (K, 4) left, upper, right and lower edge in pixels.
        least: Smallest IoU.

    Returns:
        The pixels (H, W) of fitting pieces inside of their boxes, and the number of boxes that
        have some.
    """
    filtered = np.zeros_like(pseudo)
    if len(boxes) == 0 or not pseudo.any():
        return filtered, 0
    inside = inside_boxes(boxes, (pseudo.shape[0], pseudo.shape[1]))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        pseudo.astype(np.uint8), connectivity=8
    )
    covered = np.array([np.bincount(pieces[box], minlength=count) for box in inside])
    owner = np.where(covered.max(axis=0) > 0, covered.argmax(axis=0), -1)
    owner[0] = -1
    corners = stats[:, :2]
    ends = corners + stats[:, 2:4]
    fitting = 0
    for number, box in enumerate(boxes):
        own = owner == number
        if not own.any():
            continue
        around = np.concatenate([corners[own].min(axis=0), ends[own].max(axis=0)])
        if box_iou(around, box) >= least:
            filtered |= own[pieces] & inside[number]
            fitting += 1
    return filtered, fitting


def box_iou(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """IoU of two boxes (4,): left, upper, right and lower edge."""
    sides = np.minimum(left[2:], right[2:]) - np.maximum(left[:2], right[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(left[2:] - left[:2]) + np.prod(right[2:] - right[:2])) - both
    return both / union if union > 0 else 0.0


def label_boxes(average: Student, batch: Boxed, least: float) -> BoxLabels:
    """Targets for the strong views of frames with boxes.

    Args:
        average: The averaged student; it is put in evaluation mode and gets no gradient.
        batch: Frames, their views and their boxes.
        least: Smallest IoU of a pseudo-mask's bounding box with its box.
    """
    frames = batch.frames
    size = (frames.weak.shape[-2], frames.weak.shape[-1])
    average.eval()
    with torch.no_grad():
        scores = torch.sigmoid(resized(average(frames.weak).float(), size))
        pseudo = (scores[:, 0] >= POLYP).cpu().numpy()
        in_pixels = np.array([size[1], size[0], size[1], size[0]], np.float64)
        masks, certain_parts, fitting = [], [], 0
        for pseudo_mask, shares in zip(pseudo, batch.boxes, strict=True):
            boxes = shares.numpy().astype(np.float64) * in_pixels
            filtered, count = fusion_filter(pseudo_mask, boxes, least)
            fitting += count
            masks.append(filtered)
            certain_parts.append(filtered | ~inside_boxes(boxes, size).any(axis=0))
        labels = torch.from_numpy(np.stack([masks, certain_parts], axis=1).astype(np.float32))
        together = torch.cat([labels.to(scores.device), scores], dim=1)
        moved = warp_maps(together, frames.thetas)
        mask, certain, scores = (moved[:, plane : plane + 1] for plane in range(3))
    total = sum(len(shares) for shares in batch.boxes)
    # What a view blacked out shows no polyp.
    return BoxLabels(
        frames.strong,
        mask * frames.visible,
        certain * frames.visible + 1 - frames.visible,
        scores,
        torch.tensor(fitting / max(1, total)),
    )


def known_pixels_loss(logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy plus IoU over the pixels that are known.

    An image without a known pixel of a polyp has the cross-entropy alone.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the masks.
        masks: (B, 1, H, W), 0 to 1.
        known: (B, 1, H, W) weight of each pixel, 0 to 1.

    Returns:
        Mean over the batch, a scalar.
    """
    logits = resized(logits, (masks.shape[-2], masks.shape[-1]))
    pixels = (1, 2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    mean = (known * entropy).sum(dim=pixels) / known.sum(dim=pixels).clamp_min(1)
    scores = torch.sigmoid(logits)
    inter = (known * scores * masks).sum(dim=pixels)
    union = (known * (scores + masks)).sum(dim=pixels) - inter
    polyp = (known * masks).sum(dim=pixels) > 0
    return (mean + polyp * (1 - (inter + 1) / (union + 1))).mean()


def open_pixels_loss(logits: Tensor, scores: Tensor, known: Tensor) -> Tensor:
    """Squared difference of two students' probabilities on the pixels that are not known.

    Args:
        logits: (B, 1, h, w) of the one, upsampled bilinearly to the scores.
        scores: (B, 1, H, W), probabilities of the other, without a gradient.
        known: (B, 1, H, W) weight of each known pixel, 0 to 1.

    Returns:
        Mean over all pixels of the batch, a scalar.
    """
    logits = resized(logits, (scores.shape[-2], scores.shape[-1]))
    return ((1 - known) * (torch.sigmoid(logits) - scores).square()).mean()
