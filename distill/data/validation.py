"""Figures of validation frames at the student's input size, threshold .5."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from distill.data.tensors import mask_tensor, to_tensor
from distill.students.base import mask_logits
from edge.evaluation.findings import FLAG_AREA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor, nn

    from distill.data.image_store import ImageStore

SPECIFICITY = 0.95
"""Share of the clean validation frames that must stay unflagged when epochs are compared."""


class FrameScores(NamedTuple):
    """A model against the masks of N frames, of which n have a polyp.

    Attributes:
        dice: (n,) Dice of the frames with a polyp, in their order.
        iou: (n,) IoU of the same frames.
        peaks: (N,) peak logit of all frames.
        polyp: (N,) bool, whether a frame has one.
    """

    dice: Tensor
    iou: Tensor
    peaks: Tensor
    polyp: Tensor

    def figures(self) -> dict[str, float]:
        """Summarize the frames.

        Returns:
            `dice_val` and `iou_val`, means over the frames with a polyp, and `score`, which chooses
            the best epoch. It is the mean Dice; if there are clean frames, a frame with a polyp
            counts 0 unless its peak exceeds the peaks of `SPECIFICITY` of the clean frames. Clean
            frames also add `flagged_val`, the share of them with a mask.
        """
        figures = {"dice_val": self.dice.mean().item(), "iou_val": self.iou.mean().item()}
        clean = self.peaks[~self.polyp]
        if len(clean) == 0:
            return figures | {"score": figures["dice_val"]}
        least = max(torch.quantile(clean, SPECIFICITY).item(), 0.0)
        accepted = self.dice * (self.peaks[self.polyp] > least)
        return figures | {
            "flagged_val": (clean >= 0).float().mean().item(),
            "score": accepted.mean().item(),
        }

    def dice_of_each(self) -> list[float | None]:
        """Return the Dice of each of the N frames; None for a frame without a polyp."""
        values = iter(self.dice.tolist())
        return [next(values) if polyp else None for polyp in self.polyp.tolist()]


def score_frames(model: nn.Module, frames: ImageStore, batch_size: int) -> FrameScores:
    """Compare a model, which is put into evaluation mode, with the masks of frames.

    Args:
        model: Gives logits (B, 1, h, w) of normalized images (B, 3, H, W).
        frames: Images and masks; at least one mask shows a polyp.
        batch_size: Number of images that are computed at once.
    """
    model.eval()
    device = next(model.parameters()).device

    def scored() -> Iterator[tuple[Tensor, Tensor]]:
        for begin in range(0, len(frames), batch_size):
            rows = slice(begin, begin + batch_size)
            logits = mask_logits(model, to_tensor(frames.images[rows]).to(device)).cpu()
            yield logits, mask_tensor(frames.masks[rows])

    with torch.inference_mode():
        return compare_frames(scored())


def compare_frames(batches: Iterable[tuple[Tensor, Tensor]]) -> FrameScores:
    """Compare logits with masks at threshold .5, at the size of the masks.

    Args:
        batches: Logits (B, 1, h, w), upsampled bilinearly, and masks (B, 1, H, W), 0 to 1, on the
            CPU; at least one mask shows a polyp.
    """
    dice, iou, peaks, with_polyp = [], [], [], []
    for logits, masks in batches:
        truth = masks >= 0.5
        resized_logits = F.interpolate(
            logits, size=truth.shape[-2:], mode="bilinear", align_corners=False
        )
        mask = resized_logits >= 0
        both = (truth & mask).sum(dim=(1, 2, 3)).float()
        sizes = truth.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
        polyp = truth.any(dim=3).any(dim=2).any(dim=1)
        dice.append((2 * both / sizes)[polyp])
        iou.append((both / (sizes - both))[polyp])
        peaks.append(_peaks(logits))
        with_polyp.append(polyp)
    return FrameScores(torch.cat(dice), torch.cat(iou), torch.cat(peaks), torch.cat(with_polyp))


def _peaks(logits: Tensor) -> Tensor:
    """Return peak logits (B,) of (B, 1, h, w) that `FLAG_AREA` of the cells reach."""
    cells = logits.flatten(1)
    return cells.topk(max(1, round(FLAG_AREA * cells.shape[1])), dim=1).values[:, -1]
