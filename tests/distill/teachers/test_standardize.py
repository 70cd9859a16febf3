"""Standardization: what PHI-S promises, for orders with and without a Hadamard matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.teachers.cache.hadamard import hadamard, leveling
from distill.teachers.cache.standardize import Moments, Standardizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor


def correlated(channels: int, seed: int = 0) -> NDArray[np.float16]:
    """(4, C, 6, 7) float16 maps whose channels are mixed, of very different scales, off zero."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.uniform(-2, 2, channels))
    mixed = rng.normal(size=(4 * 6 * 7, channels)) * scales @ rng.normal(size=(channels, channels))
    maps = (mixed + 10 * rng.normal(size=channels)) / np.abs(mixed).max() * 50
    rows: NDArray[np.float16] = (
        maps.reshape(4, 6, 7, channels).transpose(0, 3, 1, 2).astype(np.float16)
    )
    return rows


def phi_s(maps: NDArray[np.float16]) -> Standardizer:
    moments = Moments("phi-s", maps.shape[1])
    moments.add(maps, torch.device("cpu"))
    return moments.standardizer()


def covariance(maps: Tensor) -> Tensor:
    return torch.cov(maps.double().transpose(0, 1).flatten(1), correction=0)


@pytest.mark.parametrize(
    "order", [1, 2, 4, 12, 20, 28, 36, 48, 60, 112, 120, 192, 240, 256, 384, 768, 1024]
)
def test_hadamard_matrices_are_orthogonal(order: int) -> None:
    """Hadamard matrices are orthogonal with entries of one size."""
    matrix = hadamard(order)
    assert matrix is not None
    assert np.allclose(matrix @ matrix.T, np.eye(order))
    assert np.allclose(np.abs(matrix), order**-0.5)


@pytest.mark.parametrize("order", [0, 3, 6, 10, 50, 92])
def test_orders_without_a_known_construction_give_none(order: int) -> None:
    assert hadamard(order) is None


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=24))
def test_leveling_gives_every_channel_the_mean_variance(variances: list[float]) -> None:
    values = np.array(variances)
    rotation = leveling(values)
    assert np.allclose(rotation @ rotation.T, np.eye(len(values)))
    assert np.allclose(np.diag(rotation @ np.diag(values) @ rotation.T), values.mean(), atol=1e-9)


@pytest.mark.parametrize("channels", [2, 3, 12, 16, 22, 28])
def test_phi_s_gives_unit_variance_and_keeps_ratios(
    channels: int,
) -> None:
    maps = correlated(channels)
    standardizer = phi_s(maps)
    given_maps = torch.from_numpy(maps).float()
    after, before = covariance(standardizer.apply(given_maps)), covariance(given_maps)
    assert torch.allclose(after.diagonal(), torch.ones(channels, dtype=torch.float64), atol=1e-4)
    ratios = torch.linalg.eigvalsh(after) * before.trace() / channels
    assert torch.allclose(ratios, torch.linalg.eigvalsh(before), atol=1e-4 * float(before.trace()))
    assert torch.allclose(
        standardizer.invert(standardizer.apply(given_maps)), given_maps, atol=1e-3
    )


def test_channel_standardization_is_per_channel_and_invertible() -> None:
    maps = correlated(5)
    moments = Moments("channel", 5)
    moments.add(maps[:1], torch.device("cpu"))
    moments.add(maps[1:], torch.device("cpu"))
    standardizer = moments.standardizer()
    given_maps = torch.from_numpy(maps).float()
    after = standardizer.apply(given_maps)
    assert torch.allclose(after.mean(dim=(0, 2, 3)), torch.zeros(5), atol=1e-4)
    assert torch.allclose(covariance(after).diagonal().float(), torch.ones(5), atol=1e-4)
    assert torch.allclose(standardizer.invert(after), given_maps, atol=1e-3)


def test_maps_without_any_variance_stay_finite() -> None:
    constant = np.full((2, 4, 3, 3), 7, np.float16)
    assert torch.equal(
        phi_s(constant).apply(torch.from_numpy(constant).float()), torch.zeros(2, 4, 3, 3)
    )


def test_a_saved_standardizer_comes_back(tmp_path: Path) -> None:
    standardizer = phi_s(correlated(4))
    standardizer.save(tmp_path / "s.npz")
    again = Standardizer.load(tmp_path / "s.npz", 4)
    assert again is not None
    maps = torch.randn(2, 4, 3, 3)
    assert torch.equal(again.apply(maps), standardizer.apply(maps))
    assert Standardizer.load(tmp_path / "s.npz", 5) is None
    (tmp_path / "s.npz").write_bytes((tmp_path / "s.npz").read_bytes()[:80])
    assert Standardizer.load(tmp_path / "s.npz", 4) is None
