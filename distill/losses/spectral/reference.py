"""The spectral loss by its definition; every fast path is tested against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from distill.losses.spectral.bands import Band, low_band

if TYPE_CHECKING:
    from torch import Tensor


def reference_loss(low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band) -> Tensor:
    """Compute mean((low - L)^2) + mean((high - H)^2), L the target's low band and H the rest.

    Args:
        low: (B, C, H, W).
        high: (B, C, H, W).
        target: (B, C, H, W); it gets no gradient.
        radius: Half-width of the low band in cycles per map.
        band: Shape of the low band.
    """
    target = target.detach().float()
    smooth = low_band(target, radius, band)
    return F.mse_loss(low.float(), smooth) + F.mse_loss(high.float(), target - smooth)
