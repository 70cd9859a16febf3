"""Terms beside the spectral and the structure loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_similarity_loss(
    maps: Tensor, teacher: Tensor, *, temperature: float = 0.07, side: int = 16
) -> Tensor:
    """Relations between the patches of one image instead of their values.

    KL between the rows of the two matrices of cosine similarities, softmax with `temperature` (relational
    distillation as in LightlyTrain's distillation v3). Channels need not agree in number.

    Args:
        maps: (B, C, h, w) of the student.
        teacher: (B, D, gh, gw), without a gradient.
        temperature: Of the softmax.
        side: Patches along each axis at most; finer maps are averaged.
    """
    rows = []
    for found in (maps.float(), teacher.detach().float()):
        height, width = (min(side, size) for size in (maps.shape[-2], maps.shape[-1]))
        patches = F.normalize(F.adaptive_avg_pool2d(found, (height, width)).flatten(2), dim=1)
        similarity = patches.transpose(1, 2) @ patches
        # A patch is like itself whatever was learnt.
        diagonal = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
        rows.append(F.log_softmax((similarity / temperature).masked_fill(diagonal, -1e4), dim=2))
    mine, theirs = rows
    return (theirs.exp() * (theirs - mine)).sum(dim=2).mean()


def soft_dice_bce(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice plus binary cross-entropy, the task loss of the published notebook.

    Args:
        logits: (B, 1, h, w), upsampled bilinearly to the mask.
        mask: (B, 1, H, W), 0 to 1.
    """
    if logits.shape[-2:] != mask.shape[-2:]:
        logits = F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    scores = torch.sigmoid(logits)
    overlap = (scores * mask).sum(dim=(1, 2, 3))
    sizes = scores.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3))
    dice = (2 * overlap + 1) / (sizes + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice.mean()
