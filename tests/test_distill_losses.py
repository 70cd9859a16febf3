from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import low_band, spectral_loss, structure_loss


def projection(n: int, radius: int) -> torch.Tensor:
    """Projection on the waves of up to `radius` cycles, from their definition."""
    rows = [torch.ones(n, dtype=torch.float64) / n**0.5]
    t = torch.arange(n, dtype=torch.float64)
    for k in range(1, min(radius, n // 2) + 1):
        cos, sin = torch.cos(2 * torch.pi * k * t / n), torch.sin(2 * torch.pi * k * t / n)
        rows.append(cos / cos.norm())
        if 2 * k != n:
            rows.append(sin / sin.norm())
    stacked = torch.stack(rows)
    return stacked.T @ stacked


@settings(deadline=None, max_examples=30)
@given(h=st.integers(2, 17), w=st.integers(2, 17), radius=st.integers(0, 9), seed=st.integers(0, 99))
def test_the_low_band_is_the_projection_on_the_lowest_waves(h: int, w: int, radius: int, seed: int) -> None:
    maps = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(seed))
    expected = projection(h, radius) @ maps.double() @ projection(w, radius)
    torch.testing.assert_close(low_band(maps, radius).double(), expected, atol=1e-5, rtol=1e-5)


def test_bands_add_up_and_are_orthogonal() -> None:
    maps = torch.randn(1, 4, 16, 12)
    low = low_band(maps, 3)
    assert abs(((maps - low) * low).sum().item()) < 1e-3
    torch.testing.assert_close(low_band(low, 3), low)


def test_the_target_gets_no_gradient_and_the_students_maps_get_plain_differences() -> None:
    low, high, target = (torch.randn(2, 3, 9, 8, requires_grad=True) for _ in range(3))
    loss = 2.5 * spectral_loss(low, high, target, radius=2)
    loss.backward()
    assert target.grad is None
    band = low_band(target.detach(), 2)
    torch.testing.assert_close(low.grad, 2.5 * 2 * (low.detach() - band) / low.numel())
    torch.testing.assert_close(high.grad, 2.5 * 2 * (high.detach() - target.detach() + band) / low.numel())


def test_a_student_that_holds_both_bands_has_no_loss() -> None:
    target = torch.randn(1, 2, 8, 8)
    band = low_band(target, 1)
    assert spectral_loss(band, target - band, target, radius=1).item() < 1e-12


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        spectral_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 4), radius=1)


def test_the_structure_loss_falls_from_wrong_over_unsure_to_right() -> None:
    mask = torch.zeros(2, 1, 32, 32)
    mask[:, :, 8:20, 10:24] = 1
    right = (mask[..., ::4, ::4] * 2 - 1) * 8
    assert structure_loss(right, mask) < structure_loss(0 * right, mask) < structure_loss(-right, mask)


def test_the_structure_loss_on_an_empty_mask_is_finite_and_falls_with_the_scores() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    structure_loss(logits, mask).backward()
    assert logits.grad is not None
    assert bool((logits.grad > 0).all())
