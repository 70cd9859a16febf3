"""The box's spectral loss in one Triton kernel each way.

A map is read once, and its low band never leaves the chip.

One program takes one (H, W) map of the target with its two counterparts. The low band is four small
matrix products with the bases of `distill.losses.spectral.bands`, zero-padded to powers of two,
which changes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from distill.losses.spectral.bands import basis

MAX_ELEMENTS = 64 * 64
"""Largest number of elements of a padded map: three maps must fit into one program's registers."""
WARPS = 8


@triton.jit
def _low_band(target, rows, columns, RANK: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr):
    """L of one zero-padded (BH, BW) map."""
    rank = tl.arange(0, RANK)
    down = tl.load(rows + tl.arange(0, BH)[:, None] * RANK + rank[None, :])
    across = tl.load(columns + tl.arange(0, BW)[:, None] * RANK + rank[None, :])
    half = tl.dot(target, across, input_precision="ieee")
    small = tl.dot(tl.trans(down), half, input_precision="ieee")
    return tl.dot(
        tl.dot(down, small, input_precision="ieee"), tl.trans(across), input_precision="ieee"
    )


@triton.jit
def box_loss_kernel(
    low, high, target, rows, columns, partial, share, H, W,
    RANK: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)
    h, w = tl.arange(0, BH)[:, None], tl.arange(0, BW)[None, :]
    inside = (h < H) & (w < W)
    offset = place * H * W + h * W + w
    t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
    smooth = _low_band(t, rows, columns, RANK, BH, BW)
    first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32) - smooth
    second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t + smooth
    both = tl.where(inside, first * first + second * second, 0.0)
    tl.store(partial + place, share * tl.sum(both))


@triton.jit
def box_grad_kernel(
    low, high, target, rows, columns, incoming, to_low, to_high, share, H, W,
    RANK: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)
    h, w = tl.arange(0, BH)[:, None], tl.arange(0, BW)[None, :]
    inside = (h < H) & (w < W)
    offset = place * H * W + h * W + w
    factor = 2 * share * tl.load(incoming)
    t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
    smooth = _low_band(t, rows, columns, RANK, BH, BW)
    first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32) - smooth
    second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t + smooth
    tl.store(to_low + offset, (factor * first).to(to_low.dtype.element_ty), mask=inside)
    tl.store(to_high + offset, (factor * second).to(to_high.dtype.element_ty), mask=inside)


def fits(height: int, width: int) -> bool:
    """Whether one program can hold a map."""
    return _padded(height) * _padded(width) <= MAX_ELEMENTS


class TritonBoxLoss(torch.autograd.Function):
    """Compute `reference_loss` of the box band; gradients have the dtypes of their maps."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, target: Tensor, radius: int) -> Tensor:
        """Scalar float32 loss of three (B, C, H, W) maps on one device."""
        low, high, target = low.contiguous(), high.contiguous(), target.contiguous()
        ctx.save_for_backward(low, high, target)
        ctx.radius = radius
        B, C, H, W = low.shape
        partial = torch.empty(B * C, dtype=torch.float32, device=low.device)
        rows, columns, blocks = _bases(H, W, radius, low.device)
        share = 1 / low.numel()
        box_loss_kernel[(B * C,)](
            low, high, target, rows, columns, partial, share, H, W, **blocks, num_warps=WARPS
        )
        return partial.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return 2 (low - L) / n and 2 (high - H) / n, times the incoming gradient."""
        low, high, target = ctx.saved_tensors
        B, C, H, W = low.shape
        to_low, to_high = torch.empty_like(low), torch.empty_like(high)
        rows, columns, blocks = _bases(H, W, ctx.radius, low.device)
        box_grad_kernel[(B * C,)](
            *(low, high, target, rows, columns, grads[0], to_low, to_high),
            *(1 / low.numel(), H, W),
            **blocks,
            num_warps=WARPS,
        )
        return to_low, to_high, None, None


@lru_cache(maxsize=64)
def _bases(
    height: int, width: int, radius: int, device: torch.device
) -> tuple[Tensor, Tensor, dict[str, int]]:
    """Zero-padded bases of both axes, and the kernel's block sizes."""
    rows, columns = basis(height, radius, device), basis(width, radius, device)
    rank = _padded(max(rows.shape[1], columns.shape[1]))
    BH, BW = _padded(height), _padded(width)
    padded = [
        F.pad(u, (0, rank - u.shape[1], 0, block - u.shape[0])).contiguous()
        for u, block in ((rows, BH), (columns, BW))
    ]
    return padded[0], padded[1], {"RANK": rank, "BH": BH, "BW": BW}


def _padded(size: int) -> int:
    """The power of two that holds `size`; matrix products need 16."""
    return max(16, int(triton.next_power_of_2(size)))
