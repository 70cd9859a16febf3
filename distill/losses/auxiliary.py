"""Losses that are added to the spectral and to the task loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_similarity_loss(
    maps: Tensor, teacher: Tensor, *, temperature: float = 0.07, side: int = 16
) -> Tensor:
    """Relations between the patches of one image instead of their values.

    KL between the rows of the two matrices of cosine similarities, softmax with `temperature`
    (relational distillation as in LightlyTrain's distillation v3). Channels need not agree in
    number.

    Args:
        maps: (B, C, h, w) map of the student.
        teacher: (B, D, gh, gw), without a gradient.
        temperature: Temperature of the softmax.
        side: Patches along each axis at most; finer maps are averaged.
    """
    rows = []
    for source in (maps.float(), teacher.detach().float()):
        height, width = (min(side, size) for size in (maps.shape[-2], maps.shape[-1]))
        patches = F.normalize(F.adaptive_avg_pool2d(source, (height, width)).flatten(2), dim=1)
        similarity = patches.transpose(1, 2) @ patches
        # A patch is similar to itself whatever was learned.
        diagonal = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
        rows.append(F.log_softmax((similarity / temperature).masked_fill(diagonal, -1e4), dim=2))
    student_rows, teacher_rows = rows
    return (teacher_rows.exp() * (teacher_rows - student_rows)).sum(dim=2).mean()


def channel_wise_loss(logits: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Channel-wise distillation of logits (CWD: Shu et al., ICCV 2021, equation 4).

    `tau^2 / C` times the sum over the channels of KL(softmax(T / tau) || softmax(S / tau)), softmax
    over the cells.

    Args:
        logits: (B, C, h, w) of the student, resized bilinearly to the teacher's grid.
        teacher: (B, C, gh, gw), without a gradient.
        temperature: tau.

    Returns:
        Mean over the batch, a scalar.
    """
    student_logits = resized(logits.float(), (teacher.shape[-2], teacher.shape[-1])).flatten(2)
    rows = [
        F.log_softmax(scaled / temperature, dim=2)
        for scaled in (student_logits, teacher.detach().float().flatten(2))
    ]
    return (
        temperature**2
        * F.kl_div(rows[0], rows[1], reduction="none", log_target=True).sum(dim=2).mean()
    )


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, *grid): bilinear on half-pixel centers, antialiased where it shrinks."""
    if maps.shape[-2:] == grid:
        return maps
    shrinks = maps.shape[-2] > grid[0] or maps.shape[-1] > grid[1]
    return F.interpolate(maps, size=grid, mode="bilinear", align_corners=False, antialias=shrinks)


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
