"""Figures of validation frames, by which the best epoch of a training is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from edge.evaluation.findings import FLAG_AREA

if TYPE_CHECKING:
    from collections.abc import Iterable

SPECIFICITY = 0.95
"""Share of the clean validation frames that must stay unflagged when epochs are compared."""


def validation_figures(found: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Figures at threshold .5, at the size of the masks.

    Args:
        found: Batches of logits (B, 1, h, w), upsampled bilinearly, and masks (B, 1, H, W), 0 to 1,
            on the CPU.

    Returns:
        `dice_val` and `iou_val`, means over the frames with a polyp, and `score`, which chooses the
        best epoch. It is the mean Dice; if there are clean frames, a frame with a polyp counts 0
        unless its peak exceeds the peaks of `SPECIFICITY` of the clean frames. Clean frames also
        add `flagged_val`, the share of them with a mask.
    """
    dice, iou, peaks, with_polyp = [], [], [], []
    for logits, masks in found:
        truth = masks >= 0.5
        shown = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
        mask = shown >= 0
        both = (truth & mask).sum(dim=(1, 2, 3)).float()
        sizes = truth.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
        polyp = truth.any(dim=3).any(dim=2).any(dim=1)
        dice.append((2 * both / sizes)[polyp])
        iou.append((both / (sizes - both))[polyp])
        peaks.append(_peaks(logits))
        with_polyp.append(polyp)
    return _figures(torch.cat(dice), torch.cat(iou), torch.cat(peaks), torch.cat(with_polyp))


def _peaks(logits: Tensor) -> Tensor:
    """Return peak logits (B,) of (B, 1, h, w) that `FLAG_AREA` of the cells reach."""
    cells = logits.flatten(1)
    return cells.topk(max(1, round(FLAG_AREA * cells.shape[1])), dim=1).values[:, -1]


def _figures(dice: Tensor, iou: Tensor, peaks: Tensor, polyp: Tensor) -> dict[str, float]:
    """Figures that `TrainingData.validate` returns.

    Args:
        dice: (n,) Dice of the frames with a polyp, in their order.
        iou: (n,) IoU of the same frames.
        peaks: (N,) peak logit of all frames.
        polyp: (N,) bool, whether a frame has one.
    """
    figures = {"dice_val": dice.mean().item(), "iou_val": iou.mean().item()}
    clean = peaks[~polyp]
    if len(clean) == 0:
        return figures | {"score": figures["dice_val"]}
    least = max(torch.quantile(clean, SPECIFICITY).item(), 0.0)
    kept = dice * (peaks[polyp] > least)
    return figures | {
        "flagged_val": (clean >= 0).float().mean().item(),
        "score": kept.mean().item(),
    }
