"""Losses on the masks: segmentation, images without a polyp, and whether there is a polyp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TASK_LOSSES",
    "background_loss",
    "clean_loss",
    "cross_entropy_loss",
    "even_structure_loss",
    "presence_loss",
    "segmentation_loss",
    "structure_loss",
]

CLEAN_SHARE = 0.02
"""Share of the cells of an image without a polyp that its loss uses."""
MIN_SHOWN = 0.001
"""Share of a view below which a visible polyp is too small for the presence loss."""


def structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Weighted binary cross-entropy plus weighted IoU (Wei et al., F3Net, AAAI 2020; in PraNet).

    Pixels near the outline count up to six times: w = 1 + 5 |avgpool31(m) - m|.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the mask.
        mask: (B, 1, H, W), 0 to 1.

    Returns:
        Mean over the batch, a scalar.
    """
    return _weighted(logits, mask, _outline(mask))


def even_structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """`structure_loss` with equal weights for all pixels: binary cross-entropy plus IoU."""
    return _weighted(logits, mask, torch.ones_like(mask))


def cross_entropy_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of the pixels alone; arguments as for `structure_loss`."""
    return F.binary_cross_entropy_with_logits(_as_large(logits, mask), mask)


def clean_loss(logits: Tensor) -> Tensor:
    """Loss of clean images: the mean softplus of the highest `CLEAN_SHARE` of the logits.

    One false region is what harms. The mean over all pixels would hardly notice it, and the IoU of
    an empty mask has almost no gradient.

    Args:
        logits: (B, 1, h, w).

    Returns:
        Mean over the batch, a scalar.
    """
    cells = logits.flatten(1)
    count = max(1, round(CLEAN_SHARE * cells.shape[1]))
    return F.softplus(cells.topk(count, dim=1).values).mean()


def segmentation_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    mask: Tensor,
    clean_weight: float = 1.0,
) -> Tensor:
    """A task loss on the images with a polyp and `clean_loss` on those without one.

    Args:
        loss: One of `TASK_LOSSES`, a mean over its batch.
        logits: (B, 1, h, w).
        mask: (B, 1, H, W), 0 to 1.
        clean_weight: Weight of an image without a polyp against one with; 0 gives the task loss to
            both.

    Returns:
        Mean over the batch, a scalar.
    """
    clean = mask.flatten(1).amax(dim=1) == 0
    count = int(clean.sum())
    if count == 0 or clean_weight == 0:
        return loss(logits, mask)
    total = clean_weight * clean_loss(logits[clean]) * count
    if count < len(mask):
        total = total + loss(logits[~clean], mask[~clean]) * (len(mask) - count)
    return total / len(mask)


def background_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of "this is no polyp", pixels near the outline weighted as in `structure_loss`.

    The dual supervision of PraNet-V2 (Hu et al., 2025).

    Args:
        logits: (B, 1, h, w) of the background, upsampled bilinearly to the mask.
        mask: (B, 1, H, W) of the polyp, 0 to 1.

    Returns:
        Mean over the batch, a scalar.
    """
    return _entropy(_as_large(logits, mask), 1 - mask, _outline(mask)).mean()


def presence_loss(presence: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of polyp presence, over all views except those with a sliver of one.

    Args:
        presence: (B, 1, 1, 1) logits.
        mask: (B, 1, H, W), 0 to 1; one with a polyp that covers less than `MIN_SHOWN` has no
            weight.

    Returns:
        Mean over the batch, a scalar.
    """
    share = mask.mean(dim=(1, 2, 3), keepdim=True)
    if not bool((share == 0).any()):
        return presence.sum() * 0.0  # polyps alone say nothing about where there is none
    weight = ((share == 0) | (share >= MIN_SHOWN)).to(presence.dtype)
    entropy = F.binary_cross_entropy_with_logits(
        presence, (share > 0).to(presence.dtype), reduction="none"
    )
    return (weight * entropy).sum() / weight.sum().clamp_min(1)


TASK_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "structure": structure_loss,
    "bce-iou": even_structure_loss,
    "bce": cross_entropy_loss,
}
"""Name in a configuration -> loss of logits and mask."""


def _weighted(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    logits = _as_large(logits, mask)
    entropy = _entropy(logits, mask, weight)
    score = torch.sigmoid(logits)
    inter = (weight * score * mask).sum(dim=(1, 2, 3))
    union = (weight * (score + mask)).sum(dim=(1, 2, 3)) - inter
    return (entropy + 1 - (inter + 1) / (union + 1)).mean()


def _outline(mask: Tensor) -> Tensor:
    """Weight of each pixel of (B, 1, H, W): up to six times as much near the outline."""
    # Along one axis after the other: 2 x 31 additions a pixel instead of 31 x 31.
    near = F.avg_pool2d(mask, (31, 1), stride=1, padding=(15, 0), count_include_pad=False)
    near = F.avg_pool2d(near, (1, 31), stride=1, padding=(0, 15), count_include_pad=False)
    return 1 + 5 * (near - mask).abs()


def _entropy(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean cross-entropy of each image, (B,)."""
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (weight * entropy).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def _as_large(logits: Tensor, mask: Tensor) -> Tensor:
    if logits.shape[-2:] == mask.shape[-2:]:
        return logits
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
