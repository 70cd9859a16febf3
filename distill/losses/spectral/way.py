"""Ways to compute the spectral loss, and what autograd and `torch.compile` see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill.losses.spectral.bands import Band


class Compute(Protocol):
    """Computes a loss together with its gradients, because both take the same residuals."""

    def __call__(
        self, low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, *, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of three (B, C, H, W) maps, and its gradients.

        Args:
            low: Student map for the low band.
            high: Student map for the high band.
            target: Teacher map.
            radius: Half-width of the band.
            band: Shape of the band.
            keep: Whether the gradients are wanted.

        Returns:
            A float32 scalar, and the gradients to `low` and `high` for an incoming gradient of 1,
            in the dtypes of their maps, or empty tensors.
        """


class Way(NamedTuple):
    """One way to compute the loss on one kind of device.

    Attributes:
        compute: Computes the loss and its gradients.
        scale: Multiplies two gradients by a scalar tensor, in place.
    """

    compute: Compute
    scale: Callable[[Tensor, Tensor, Tensor], None]


class SpectralLoss(torch.autograd.Function):
    """The spectral loss by one way; gradients are computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, way: Way
    ) -> Tensor:
        """Scalar float32 loss of three (B, C, H, W) maps on one device."""
        ctx.save_for_backward(low, high, target)
        ctx.radius, ctx.band, ctx.way = radius, band, way
        loss, *ctx.grads = way.compute(
            low, high, target, radius, band, keep=any(ctx.needs_input_grad)
        )
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return 2 (low - L) / n and 2 (high - H) / n, times the incoming gradient."""
        # Handed over, not shared: who keeps a gradient may change it. A second pass computes them
        # again.
        grads_made, ctx.grads = ctx.grads, None
        if grads_made is None:
            _, *grads_made = ctx.way.compute(*ctx.saved_tensors, ctx.radius, ctx.band, keep=True)
        ctx.way.scale(*grads_made, grads[0])
        return *grads_made, None, None, None, None
