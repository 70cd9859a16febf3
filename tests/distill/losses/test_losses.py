from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import TASK_LOSSES, low_band, spectral_loss


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


@settings(max_examples=30)
@given(
    h=st.integers(2, 17), w=st.integers(2, 17), radius=st.integers(0, 9), seed=st.integers(0, 99)
)
def test_the_low_band_is_the_projection_on_the_lowest_waves(
    h: int, w: int, radius: int, seed: int
) -> None:
    maps = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(seed))
    expected = projection(h, radius) @ maps.double() @ projection(w, radius)
    torch.testing.assert_close(low_band(maps, radius).double(), expected, atol=1e-5, rtol=1e-5)


def test_bands_add_up_and_are_orthogonal() -> None:
    maps = torch.randn(1, 4, 16, 12)
    low = low_band(maps, 3)
    assert abs(((maps - low) * low).sum().item()) < 1e-3
    torch.testing.assert_close(low_band(low, 3), low)


def test_only_the_students_maps_get_gradients() -> None:
    low, high, target = (torch.randn(2, 3, 9, 8, requires_grad=True) for _ in range(3))
    loss = 2.5 * spectral_loss(low, high, target, radius=2)
    loss.backward()
    assert target.grad is None
    band = low_band(target.detach(), 2)
    torch.testing.assert_close(low.grad, 2.5 * 2 * (low.detach() - band) / low.numel())
    torch.testing.assert_close(
        high.grad, 2.5 * 2 * (high.detach() - target.detach() + band) / low.numel()
    )


def test_a_student_that_holds_both_bands_has_no_loss() -> None:
    target = torch.randn(1, 2, 8, 8)
    band = low_band(target, 1)
    assert spectral_loss(band, target - band, target, radius=1).item() < 1e-12


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        spectral_loss(
            torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 4), radius=1
        )


@pytest.mark.parametrize("name", TASK_LOSSES)
def test_a_task_loss_falls_from_wrong_over_unsure_to_right(name: str) -> None:
    loss = TASK_LOSSES[name]
    mask = torch.zeros(2, 1, 32, 32)
    mask[:, :, 8:20, 10:24] = 1
    right = (mask[..., ::4, ::4] * 2 - 1) * 8
    assert loss(right, mask) < loss(0 * right, mask) < loss(-right, mask)


@pytest.mark.parametrize("name", TASK_LOSSES)
def test_a_task_loss_on_an_empty_mask_falls_with_the_scores(name: str) -> None:
    mask = torch.zeros(1, 1, 32, 32)
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    TASK_LOSSES[name](logits, mask).backward()
    assert logits.grad is not None
    assert bool((logits.grad > 0).all())


def test_only_the_structure_loss_counts_the_outline_more() -> None:
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 24:72, 24:72] = 1
    far, near = (mask * 2 - 1) * 9, (mask * 2 - 1) * 9
    far[..., 4, 4], near[..., 24, 23] = 9, 9
    ratios = {
        name: (loss(near, mask) / loss(far, mask)).item() for name, loss in TASK_LOSSES.items()
    }
    assert ratios["structure"] > 1.5
    assert ratios["bce-iou"] == pytest.approx(1)
    assert ratios["bce"] == pytest.approx(1)


def test_the_region_term_raises_a_missed_region_s_cost() -> None:
    """The region term raises the cost of a missed small region."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 30:34, 30:34] = 1
    missed = torch.full_like(mask, -6.0)
    assert TASK_LOSSES["bce-iou"](missed, mask) > 10 * TASK_LOSSES["bce"](missed, mask)
