"""The spectral loss: its definition (`reference`), and the fastest computation on each device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.losses.spectral.bands import Band, low_band
from distill.losses.spectral.operator import choose_way, spectral_operator
from distill.losses.spectral.reference import reference_loss
from distill.losses.spectral.way import SpectralLoss
from distill.losses.spectral.weighted import focal_frequency_loss, weighted_loss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Band",
    "focal_frequency_loss",
    "low_band",
    "reference_loss",
    "spectral_loss",
    "weighted_loss",
]


def spectral_loss(
    low: Tensor, high: Tensor, target: Tensor, *, radius: int, band: Band = "box"
) -> Tensor:
    """Distance of a student's two maps to the low and the high band of a teacher's map.

    mean((low - L)^2) + mean((high - H)^2) with L the low band of the target and H = target - L
    (Polyp-DiFoM, arXiv 2512.09307, its equations for L_L1 and L_L2, with a symmetric band). The
    target gets no gradient: a trainable target has its optimum at zero and collapses there.

    The box is a projection of low rank and takes no FFT; a radial band takes two, both of the
    target. On CUDA the rest is one Triton kernel, on the CPU a few maps at a time; both compute the
    gradients in the forward pass. All ways give the same numbers. `torch.compile` sees one
    operator, `edge_difom::spectral_loss`.

    Args:
        low: (B, C, H, W) student map for the low band, any float type.
        high: (B, C, H, W) student map for the high band.
        target: (B, C, H, W) teacher map, standardized.
        radius: Half-width of the low band in cycles per map; at or above Nyquist the box holds the
            whole target.
        band: `box`: |k_h| <= radius and |k_w| <= radius. `radial`: smooth, |k| about <= radius.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: The maps differ in shape, are not (B, C, H, W) or empty, or the radius is
            negative.
    """
    if (
        not low.shape == high.shape == target.shape
        or low.ndim != 4
        or low.numel() == 0
        or radius < 0
    ):
        raise ValueError(
            "three (B, C, H, W) maps of one shape and radius >= 0 needed, got "
            f"{tuple(low.shape)}, {tuple(high.shape)}, {tuple(target.shape)}, radius {radius}"
        )
    target = target.detach()
    loss: Tensor
    if torch.compiler.is_compiling():
        loss = spectral_operator(low, high, target, radius, band)[0]
    else:
        loss = SpectralLoss.apply(low, high, target, radius, band, choose_way(low, radius, band))
    return loss
