"""The box's spectral loss in one Triton kernel: 3 maps read, 2 gradients written, one launch.

One program takes one (H, W) map of the target with its two counterparts. The low band is four small
matrix products with the bases of `distill.losses.spectral.bands`, zero-padded to powers of two,
which changes nothing; it never leaves the chip. A map is taken in tiles: the first pass projects
them onto the basis, the second one, which finds the target in the cache, expands the projection
again.

The gradients are those for an incoming gradient of 1. The backward pass scales them in place,
unless the incoming gradient is 1, which the device decides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from distill.losses.spectral.bands import Band, basis
from distill.losses.spectral.triton_common import SUM_BLOCK, add_in_order, counter, scale
from distill.losses.spectral.way import Way

TILE_ELEMENTS = 16 * 64
"""Number of elements of a tile: the residuals of one must fit into a program's registers."""
MAX_WIDTH = 64
"""Most columns of a tile."""
MAX_RANK = 64
"""Largest padded rank of the low band, which a program holds as a square matrix."""
WARPS = 4
"""Warps of a program; two or three such programs fit onto a multiprocessor side by side."""
PRECISION = tl.constexpr("tf32x3")
"""Matrix products on tensor cores, split so that their error is that of float32."""


@triton.jit
def box_loss_kernel(
    low, high, target, rows, columns, partial, counter, loss, to_low, to_high, share, H, W,
    KEEP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * H * W
    rank = tl.arange(0, RANK)[None, :]
    small = tl.zeros((RANK, RANK), tl.float32)
    for tile in range(DOWN * ACROSS):
        h = (tile // ACROSS) * TILE + tl.arange(0, TILE)[:, None]
        w = (tile % ACROSS) * WIDTH + tl.arange(0, WIDTH)
        inside = (h < H) & (w[None, :] < W)
        t = tl.load(target + place + h * W + w[None, :], mask=inside, other=0.0).to(tl.float32)
        down = tl.load(rows + h * RANK + rank)
        across = tl.load(columns + w[:, None] * RANK + rank)
        half = tl.dot(t, across, input_precision=PRECISION)
        small += tl.dot(tl.trans(down), half, input_precision=PRECISION)
    total = tl.zeros((TILE, WIDTH), tl.float32)
    for tile in range(DOWN * ACROSS):
        h = (tile // ACROSS) * TILE + tl.arange(0, TILE)[:, None]
        w = (tile % ACROSS) * WIDTH + tl.arange(0, WIDTH)
        inside = (h < H) & (w[None, :] < W)
        offset = place + h * W + w[None, :]
        t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
        first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t
        down = tl.load(rows + h * RANK + rank)
        across = tl.load(columns + w[:, None] * RANK + rank)
        part = tl.dot(down, small, input_precision=PRECISION)
        smooth = tl.dot(part, tl.trans(across), input_precision=PRECISION)
        first -= smooth
        second += smooth
        total += tl.where(inside, first * first + second * second, 0.0)
        if KEEP:
            factor = 2 * share
            tl.store(to_low + offset, (factor * first).to(to_low.dtype.element_ty), mask=inside)
            tl.store(to_high + offset, (factor * second).to(to_high.dtype.element_ty), mask=inside)
    add_in_order(share * tl.sum(total), partial, counter, loss, SUM)


def fits(height: int, width: int, radius: int) -> bool:
    """Whether one program can hold the low band of such maps."""
    return _rank(height, width, radius) <= MAX_RANK


def loss_and_grads(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of three (B, C, H, W) maps on one device, and its gradients; see `way.Way`."""
    assert band == "box", "a radial band has no low rank"
    low, high, target = low.contiguous(), high.contiguous(), target.contiguous()
    B, C, H, W = low.shape
    tools = _tools(H, W, radius, low.device)
    partial = torch.empty(B * C, dtype=torch.float32, device=low.device)
    loss = torch.empty((), dtype=torch.float32, device=low.device)
    grads = [torch.empty_like(m) if keep else m.new_empty(0) for m in (low, high)]
    box_loss_kernel[(B * C,)](
        *(low, high, target, tools.rows, tools.columns, partial, counter(low.device), loss),
        *(*grads, 1 / low.numel(), H, W),
        KEEP=keep,
        SUM=SUM_BLOCK,
        **tools.blocks,
    )
    return loss, grads[0], grads[1]


BOX = Way(loss_and_grads, scale)


class _Tools(NamedTuple):
    """Zero-padded bases of both axes, and the kernel's block sizes."""

    rows: Tensor
    columns: Tensor
    blocks: dict[str, int]


@lru_cache(maxsize=64)
def _tools(height: int, width: int, radius: int, device: torch.device) -> _Tools:
    block_sizes = blocks(height, width, radius)
    sizes = block_sizes["TILE"] * block_sizes["DOWN"], block_sizes["WIDTH"] * block_sizes["ACROSS"]
    bases = [basis(size, radius, device) for size in (height, width)]
    rows, columns = (
        F.pad(u, (0, block_sizes["RANK"] - u.shape[1], 0, size - u.shape[0])).contiguous()
        for u, size in zip(bases, sizes, strict=True)
    )
    return _Tools(rows, columns, block_sizes)


def blocks(height: int, width: int, radius: int) -> dict[str, int]:
    """Block sizes and launch options of the kernel for maps of a size."""
    WIDTH = min(_padded(width), MAX_WIDTH)
    TILE = min(_padded(height), max(16, TILE_ELEMENTS // WIDTH))
    return {
        "RANK": _rank(height, width, radius),
        "TILE": TILE,
        "WIDTH": WIDTH,
        "DOWN": -(-height // TILE),
        "ACROSS": -(-width // WIDTH),
        "num_warps": WARPS,
        "num_stages": 1,
    }


def _rank(height: int, width: int, radius: int) -> int:
    return _padded(min(2 * radius + 1, max(height, width)))


def _padded(size: int) -> int:
    """The power of two that holds `size`; matrix products need 16."""
    return max(16, int(triton.next_power_of_2(size)))
