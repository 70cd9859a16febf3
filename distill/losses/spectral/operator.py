"""The spectral loss as the operator `edge_difom::spectral_loss`, which `torch.compile` keeps whole.

Outside compiled code the autograd function of `way` is used: it scales the gradients in place, and
not at all where the incoming gradient is 1. Compiled code fuses that product into what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.losses.spectral.bands import low_band
from distill.losses.spectral.cpu import CPU
from distill.losses.spectral.way import Way

if TYPE_CHECKING:
    from distill.losses.spectral.bands import Band


def choose_way(low: Tensor, radius: int, band: Band) -> Way:
    """The fastest way for the device, size and band of a map."""
    if low.is_cuda:
        from distill.losses.spectral import triton_box, triton_weighted

        fits = band == "box" and triton_box.fits(low.shape[2], low.shape[3], radius)
        return triton_box.BOX if fits else triton_weighted.RESIDUAL
    return CPU if low.device.type == "cpu" else PLAIN


def _plain(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and its gradients by plain tensor operations, for any device."""
    smooth = low_band(target, radius, band)
    first = low.float() - smooth
    second = high.float() - target.float() + smooth
    loss = (first.square() + second.square()).mean()
    if not keep:
        return loss, low.new_empty(0), high.new_empty(0)
    scale = 2 / low.numel()
    return loss, first.mul_(scale).to(low.dtype), second.mul_(scale).to(high.dtype)


def _scale(first: Tensor, second: Tensor, incoming: Tensor) -> None:
    first.mul_(incoming)
    second.mul_(incoming)


PLAIN = Way(_plain, _scale)


@torch.library.custom_op("edge_difom::spectral_loss", mutates_args=())
def spectral_operator(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of three (B, C, H, W) maps, and its gradients for an incoming gradient of 1."""
    way = choose_way(low, radius, band)  # type: ignore[arg-type] # an operator takes plain types
    return way.compute(low, high, target, radius, band, keep=True)  # type: ignore[arg-type]


@spectral_operator.register_fake
def _(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: str
) -> tuple[Tensor, Tensor, Tensor]:
    del target, radius, band
    loss = low.new_empty((), dtype=torch.float32)
    maps = [torch.empty_like(m, memory_format=torch.contiguous_format) for m in (low, high)]
    return loss, maps[0], maps[1]


def _save_grads(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    del inputs
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    first, second = ctx.saved_tensors
    incoming = grads[0]
    return (
        (first * incoming).to(first.dtype),
        (second * incoming).to(second.dtype),
        None,
        None,
        None,
    )


spectral_operator.register_autograd(_backward, setup_context=_save_grads)
