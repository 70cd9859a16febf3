"""What training minimises: the task loss on the mask and the spectral loss on the teacher's map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.spectral import low_band, spectral_loss

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TASK_LOSSES",
    "cross_entropy_loss",
    "even_structure_loss",
    "low_band",
    "spectral_loss",
    "structure_loss",
]


def structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary cross-entropy plus weighted IoU (Wei et al., F3Net, AAAI 2020; used by PraNet).

    Pixels near the outline count up to six times: w = 1 + 5 |avgpool31(m) - m|.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the mask.
        mask: (B, 1, H, W), 0 to 1.

    Returns:
        Mean over the batch, a scalar.
    """
    # Along one axis after the other: 2 x 31 additions a pixel instead of 31 x 31.
    near = F.avg_pool2d(mask, (31, 1), stride=1, padding=(15, 0), count_include_pad=False)
    near = F.avg_pool2d(near, (1, 31), stride=1, padding=(0, 15), count_include_pad=False)
    return _weighted(logits, mask, 1 + 5 * (near - mask).abs())


def even_structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """`structure_loss` to which every pixel counts the same: binary cross-entropy plus IoU."""
    return _weighted(logits, mask, torch.ones_like(mask))


def cross_entropy_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of every pixel, and nothing of the region; arguments as `structure_loss`."""
    return F.binary_cross_entropy_with_logits(_as_large(logits, mask), mask)


TASK_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "structure": structure_loss,
    "bce-iou": even_structure_loss,
    "bce": cross_entropy_loss,
}
"""Name in a configuration -> loss of logits and mask."""


def _weighted(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    logits = _as_large(logits, mask)
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    entropy = (weight * entropy).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
    score = torch.sigmoid(logits)
    inter = (weight * score * mask).sum(dim=(1, 2, 3))
    union = (weight * (score + mask)).sum(dim=(1, 2, 3)) - inter
    return (entropy + 1 - (inter + 1) / (union + 1)).mean()


def _as_large(logits: Tensor, mask: Tensor) -> Tensor:
    if logits.shape[-2:] == mask.shape[-2:]:
        return logits
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
