"""Distances between spectra with a weight per frequency."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class WeightedSpectrum(torch.autograd.Function):
    """Mean over all coefficients of weight |F(prediction - target)|^2 with an orthonormal FFT F.

    The weight must be equal at k and -k; it gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Scalar float32 of two (..., H, W) maps and a (H, W // 2 + 1) weight."""
        width = prediction.shape[-1]
        spectrum = torch.fft.rfft2(prediction.float() - target.float(), norm="ortho")
        twice = torch.full((width // 2 + 1,), 2.0, device=weight.device)
        twice[0] = 1.0
        if width % 2 == 0:
            twice[-1] = 1.0
        total = _energy(spectrum, weight * twice)
        ctx.save_for_backward(spectrum, weight)
        ctx.shape, ctx.dtype = prediction.shape, prediction.dtype
        return total / prediction.numel()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """2 F^-1(weight F(prediction - target)) / n, times the incoming gradient."""
        spectrum, weight = ctx.saved_tensors
        scale = grads[0] * (2 / ctx.shape.numel())
        back = torch.fft.irfft2(spectrum * (weight * scale), s=ctx.shape[-2:], norm="ortho")
        return back.to(ctx.dtype), None, None


def weighted_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted distance of two maps' spectra.

    Args:
        prediction: (B, C, H, W).
        target: (B, C, H, W); it gets no gradient.
        weight: (H, W // 2 + 1), for the coefficients of `rfft2`; equal at k and -k.

    Raises:
        ValueError: The shapes do not belong together.
    """
    H, W = prediction.shape[-2:]
    if prediction.shape != target.shape or weight.shape != (H, W // 2 + 1):
        raise ValueError(
            "two maps of one shape and a weight for their rfft2 needed, "
            f"got {tuple(prediction.shape)}, {tuple(target.shape)}, {tuple(weight.shape)}"
        )
    loss: Tensor = WeightedSpectrum.apply(prediction, target.detach(), weight.detach().float())
    return loss


def focal_frequency_loss(prediction: Tensor, target: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Focal frequency loss (Jiang et al., ICCV 2021): frequencies count by how far off they are.

    mean(w |dF|^2) with w = |dF|^alpha / max |dF|^alpha of each map, without a gradient through w.

    Args:
        prediction: (B, C, H, W).
        target: (B, C, H, W); it gets no gradient.
        alpha: 0 weighs all frequencies alike.
    """
    difference = torch.fft.fft2(prediction.float() - target.detach().float(), norm="ortho")
    energy = difference.real.square() + difference.imag.square()
    with torch.no_grad():
        weight = energy ** (alpha / 2)
        weight = weight / weight.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    loss: Tensor = (weight * energy).mean()
    return loss


def _energy(spectrum: Tensor, weight: Tensor) -> Tensor:
    if spectrum.is_cuda:
        from distill.losses.spectral.triton_weighted import weighted_energy

        return weighted_energy(spectrum, weight)
    energy: Tensor = spectrum.real.square() + spectrum.imag.square()
    return (energy * weight).sum()
