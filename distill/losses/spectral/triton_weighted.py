"""Fused reductions for bands without a low-rank form: residuals and weighted spectra."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
WARPS = 8


@triton.jit
def residual_loss_kernel(low, high, target, smooth, partial, share, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    offset = place * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    s = tl.load(smooth + offset, mask=inside, other=0.0)
    t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
    first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32) - s
    second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t + s
    tl.store(partial + place, share * tl.sum(first * first + second * second))


@triton.jit
def residual_grad_kernel(
    low, high, target, smooth, incoming, to_low, to_high, share, count, BLOCK: tl.constexpr
):  # fmt: skip
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    factor = 2 * share * tl.load(incoming)
    s = tl.load(smooth + offset, mask=inside, other=0.0)
    t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
    first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32) - s
    second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t + s
    tl.store(to_low + offset, (factor * first).to(to_low.dtype.element_ty), mask=inside)
    tl.store(to_high + offset, (factor * second).to(to_high.dtype.element_ty), mask=inside)


@triton.jit
def energy_kernel(spectrum, weight, partial, count, plane, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    offset = place * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    w = tl.load(weight + offset % plane, mask=inside, other=0.0)
    re = tl.load(spectrum + 2 * offset, mask=inside, other=0.0)
    im = tl.load(spectrum + 2 * offset + 1, mask=inside, other=0.0)
    tl.store(partial + place, tl.sum(w * (re * re + im * im)))


class TritonResidualLoss(torch.autograd.Function):
    """mean((low - smooth)^2) + mean((high - target + smooth)^2), gradients to `low` and `high`."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, target: Tensor, smooth: Tensor) -> Tensor:
        """Scalar float32 of four (B, C, H, W) maps on one device."""
        maps = [m.contiguous() for m in (low, high, target, smooth)]
        ctx.save_for_backward(*maps)
        partial = torch.empty(_programs(low.numel()), dtype=torch.float32, device=low.device)
        count = low.numel()
        residual_loss_kernel[(len(partial),)](
            *maps, partial, 1 / count, count, BLOCK=BLOCK, num_warps=WARPS
        )
        return partial.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """2 (low - L) / n and 2 (high - H) / n, times the incoming gradient."""
        maps = ctx.saved_tensors
        count = maps[0].numel()
        to_low, to_high = torch.empty_like(maps[0]), torch.empty_like(maps[1])
        residual_grad_kernel[(_programs(count),)](
            *maps, grads[0], to_low, to_high, 1 / count, count, BLOCK=BLOCK, num_warps=WARPS
        )
        return to_low, to_high, None, None


def weighted_energy(spectrum: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight |spectrum|^2.

    Args:
        spectrum: (..., H, K) complex64, contiguous.
        weight: (H, K) float32.

    Returns:
        A float32 scalar.
    """
    flat = torch.view_as_real(spectrum.contiguous())
    count = spectrum.numel()
    partial = torch.empty(_programs(count), dtype=torch.float32, device=spectrum.device)
    energy_kernel[(len(partial),)](
        flat, weight.contiguous(), partial, count, weight.numel(), BLOCK=BLOCK, num_warps=WARPS
    )
    return partial.sum()


def _programs(count: int) -> int:
    return int(triton.cdiv(count, BLOCK))
