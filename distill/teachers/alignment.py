"""Measure where in the image the cells of a network's maps look, and correct the offset.

A strided convolution with symmetric padding has cell i look at pixel `stride * i`, not at the
middle of its cell; with the padding of TensorFlow it looks beyond the middle; training takes part
of that back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.teachers.base import resample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REACH = 2.0
"""Half the window of the center of mass, in cells: what is further off is the network's context."""
_STEPS = 32
"""Offsets are rounded to this part of a cell, so that machines agree on them."""
_AROUND = ((0, 0), (-1, 1), (1, -1), (1, 1), (-1, -1))
"""Cells that are looked at, relative to the middle one."""


def measure_offsets(
    network: Callable[[Tensor], Sequence[Tensor]], side: int
) -> tuple[tuple[float, float], ...]:
    """Measure how far the content of each map's cells is offset, in cells, down and right.

    The place that a cell sees is the center of mass of the squared gradient of its features with
    respect to the input (the effective receptive field of Luo et al., NeurIPS 2016), in a window
    that follows it.

    Args:
        network: (B, 3, side, side) normalized pictures to maps (B, C, h, h), differentiable.
        side: Pixels; about nine cells of the coarsest map let the window stay inside.

    Returns:
        (dy, dx) for each map.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, side // 4, side // 4, generator=generator)
    pictures = F.interpolate(pictures, size=(side, side), mode="bilinear", align_corners=False)
    offsets = []
    with torch.enable_grad():
        pictures.requires_grad_(True)
        for level in network(pictures):
            middle, size = level.shape[-1] // 2, side / level.shape[-1]
            energy = torch.zeros(side, side)
            for down, right in _AROUND:
                weights = torch.randn(level.shape[1], generator=generator)
                response = level[:, :, middle + down, middle + right] @ weights
                (gradient,) = torch.autograd.grad(response.sum(), pictures, retain_graph=True)
                back = (-round(down * size), -round(right * size))
                energy += gradient.square().sum((0, 1)).roll(back, (0, 1))
            offsets.append(_center(energy, middle, size))
    rounded = [torch.round(offset * _STEPS).int() for offset in offsets]
    return tuple((int(dy) / _STEPS, int(dx) / _STEPS) for dy, dx in rounded)


def _center(energy: Tensor, cell: int, size: float) -> Tensor:
    """Return the center of mass (2,) of (S, S) energy around the middle of cell (cell, cell).

    A cell is `size` pixels wide; the result is in cells.
    """
    places = (torch.arange(len(energy)) + 0.5) / size - cell - 0.5
    offset = torch.zeros(2)
    for _ in range(8):
        near = [(places - middle).abs() <= _REACH for middle in offset]
        window = energy * near[0][:, None] * near[1][None]
        total = window.sum().clamp(min=torch.finfo(window.dtype).tiny)
        offset = torch.stack([window.sum(1) @ places, window.sum(0) @ places]) / total
    return offset


def to_grid(maps: Tensor, grid: tuple[int, int], offset: tuple[float, float]) -> Tensor:
    """Stretch (B, C, h, w) to (B, C, *grid) and undo its cells' offset; edges are repeated.

    The shift is made on the finer of both grids, which blurs least.
    """
    finer = grid[0] * grid[1] > maps.shape[-2] * maps.shape[-1]
    scale = (grid[0] / maps.shape[-2], grid[1] / maps.shape[-1]) if finer else (1.0, 1.0)
    if finer:
        maps = resample(maps, grid)
    return resample(_shift(maps, (offset[0] * scale[0], offset[1] * scale[1])), grid)


def _shift(maps: Tensor, offset: tuple[float, float]) -> Tensor:
    """Each cell takes the value found at its place minus `offset` cells, bilinear."""
    if offset == (0.0, 0.0):
        return maps
    h, w = maps.shape[-2:]
    theta = torch.tensor(
        [[1, 0, -2 * offset[1] / w], [0, 1, -2 * offset[0] / h]], device=maps.device
    )
    places = F.affine_grid(theta.expand(len(maps), 2, 3), list(maps.shape), align_corners=False)
    return F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=False)
