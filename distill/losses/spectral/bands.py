"""Bands of a map's spectrum: the low part of a target.

Frequencies are in cycles per map. The box |k_h| <= radius, |k_w| <= radius is separable and a
projection of low rank: `low(e) = U_h U_h^T e U_w U_w^T` with the columns of U the lowest 2 radius +
1 sines and cosines. A radial band has a smooth edge and no such form; it takes an FFT.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Band = Literal["box", "radial"]


@lru_cache(maxsize=64)
def basis(size: int, radius: int, device: torch.device) -> Tensor:
    """Orthonormal sines and cosines up to a frequency.

    Args:
        size: Samples of an axis.
        radius: Highest frequency kept; clipped at Nyquist, where the basis is complete.
        device: Device of the result.

    Returns:
        (size, min(2 radius + 1, size)) float32.
    """
    place = torch.arange(size, dtype=torch.float64)
    columns = [torch.full((size,), size**-0.5, dtype=torch.float64)]
    for k in range(1, min(radius, size // 2) + 1):
        angle = 2 * torch.pi * k * place / size
        if 2 * k == size:
            columns.append(torch.cos(angle) * size**-0.5)
        else:
            columns += [torch.cos(angle) * (2 / size) ** 0.5, torch.sin(angle) * (2 / size) ** 0.5]
    return torch.stack(columns, dim=1).float().contiguous().to(device)


@lru_cache(maxsize=64)
def half_plane_mask(
    height: int, width: int, radius: int, band: Band, device: torch.device
) -> Tensor:
    """Weight of each coefficient of `rfft2` in a band.

    A radial band falls from 1 to 0 as a raised cosine over one cycle around |k| = radius + 1/2, so
    that it holds what the box of that radius holds on its axes, without the ringing of a hard edge.

    Returns:
        (height, width // 2 + 1) float32, 0 to 1, equal at k and -k.
    """
    k_h = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64).abs()[:, None]
    k_w = torch.fft.rfftfreq(width, 1 / width, dtype=torch.float64).abs()[None]
    if band == "box":
        mask = ((k_h <= radius) & (k_w <= radius)).double()
    else:
        distance = torch.sqrt(k_h**2 + k_w**2)
        mask = (1 + torch.cos(torch.pi * (distance - radius).clamp(0, 1))) / 2
    float_mask: Tensor = mask.float()
    return float_mask.to(device)


def low_band(maps: Tensor, radius: int, band: Band = "box") -> Tensor:
    """The low part of each map, by FFT.

    Args:
        maps: (..., H, W) real.
        radius: Half-width of the box, or where the radial band begins to fall.
        band: Shape of the band.

    Returns:
        (..., H, W) float32.
    """
    H, W = maps.shape[-2:]
    mask = half_plane_mask(H, W, radius, band, maps.device)
    low: Tensor = torch.fft.irfft2(torch.fft.rfft2(maps.float()) * mask, s=(H, W))
    return low
