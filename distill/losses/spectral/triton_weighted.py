"""Fused reductions for bands without a low-rank form: residuals and weighted spectra."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from distill.losses.spectral.bands import Band, low_band
from distill.losses.spectral.triton_common import (
    SUM_BLOCK,
    WARPS,
    add_in_order,
    counter,
    scale,
)
from distill.losses.spectral.way import Way

BLOCK = 4096


@triton.jit
def residual_loss_kernel(
    low, high, target, smooth, partial, counter, loss, to_low, to_high, share, count,
    KEEP: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    s = tl.load(smooth + offset, mask=inside, other=0.0)
    t = tl.load(target + offset, mask=inside, other=0.0).to(tl.float32)
    first = tl.load(low + offset, mask=inside, other=0.0).to(tl.float32) - s
    second = tl.load(high + offset, mask=inside, other=0.0).to(tl.float32) - t + s
    if KEEP:
        factor = 2 * share
        tl.store(to_low + offset, (factor * first).to(to_low.dtype.element_ty), mask=inside)
        tl.store(to_high + offset, (factor * second).to(to_high.dtype.element_ty), mask=inside)
    value = share * tl.sum(first * first + second * second)
    add_in_order(value, partial, counter, loss, SUM)


@triton.jit
def energy_kernel(spectrum, weight, partial, count, plane, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    offset = place * BLOCK + tl.arange(0, BLOCK)
    inside = offset < count
    w = tl.load(weight + offset % plane, mask=inside, other=0.0)
    re = tl.load(spectrum + 2 * offset, mask=inside, other=0.0)
    im = tl.load(spectrum + 2 * offset + 1, mask=inside, other=0.0)
    tl.store(partial + place, tl.sum(w * (re * re + im * im)))


def loss_and_grads(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of three (B, C, H, W) maps on one device, and its gradients; see `way.Way`."""
    low, high, target = low.contiguous(), high.contiguous(), target.contiguous()
    count = low.numel()
    partial = torch.empty(_programs(count), dtype=torch.float32, device=low.device)
    loss = torch.empty((), dtype=torch.float32, device=low.device)
    grads = [torch.empty_like(m) if keep else m.new_empty(0) for m in (low, high)]
    residual_loss_kernel[(len(partial),)](
        *(low, high, target, low_band(target, radius, band).contiguous()),
        *(partial, counter(low.device), loss, *grads, 1 / count, count),
        KEEP=keep,
        SUM=SUM_BLOCK,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )
    return loss, grads[0], grads[1]


RESIDUAL = Way(loss_and_grads, scale)


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
