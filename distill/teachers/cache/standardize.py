"""Standardize teacher features: per channel, or by PHI-S, which keeps relative scales.

Both are `y = R (t - mean) / scale` with an orthogonal R, so both can be undone, and both commute
with resampling.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from distill.teachers.cache.hadamard import hadamard, leveling
from edge.util.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

Kind = Literal["channel", "phi-s"]
_STD_FLOOR = 1e-2
"""Least deviation of a channel, as a share of the mean one: a silent channel stays silent."""
_LEAST = 1e-6


class Standardizer:
    """Maps of one teacher to a variance of about 1 and back.

    Args:
        mean: (C,) float32, of the maps as the teacher gave them.
        scale: (C,) float32, what the rotated channels are divided by.
        rotation: (C, C) float32, orthogonal; None where channels stay what they are.
    """

    def __init__(self, mean: Tensor, scale: Tensor, rotation: Tensor | None = None) -> None:
        self.mean, self.scale, self.rotation = mean, scale, rotation

    def apply(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) float32 of the teacher, standardized; on the maps' device."""
        shape = (1, -1, 1, 1)
        centered = maps - self.mean.to(maps.device).view(shape)
        return self._rotated(centered, inverse=False) / self.scale.to(maps.device).view(shape)

    def invert(self, maps: Tensor) -> Tensor:
        """The teacher's own values of standardized (B, C, h, w) maps."""
        shape = (1, -1, 1, 1)
        scaled = maps * self.scale.to(maps.device).view(shape)
        return self._rotated(scaled, inverse=True) + self.mean.to(maps.device).view(shape)

    def _rotated(self, maps: Tensor, *, inverse: bool) -> Tensor:
        if self.rotation is None:
            return maps
        rotation = self.rotation.to(maps.device)
        return torch.einsum("ji,bjhw->bihw" if inverse else "ij,bjhw->bihw", rotation, maps)

    def save(self, path: Path) -> None:
        """Write it, so that a different linear algebra library cannot find a different rotation."""
        parts = {"mean": self.mean.numpy(), "scale": self.scale.numpy()}
        if self.rotation is not None:
            parts["rotation"] = self.rotation.numpy()
        _save(path, parts)

    @classmethod
    def load(cls, path: Path, channels: int) -> Standardizer | None:
        """Read what `save` wrote; None if it is missing, damaged or has different channels."""
        parts = _load(path)
        if parts is None or any(part.shape[0] != channels for part in parts.values()):
            return None
        return cls(**{name: torch.from_numpy(part) for name, part in parts.items()})


class Moments:
    """Running sums over the blocks of a cache, in float64.

    Blocks are added in their order whoever computed them, so that the sums do not depend on how the
    work was shared.

    Args:
        kind: `phi-s` sums all products of two channels, `channel` only the squares.
        channels: C.

    Attributes:
        blocks: How many blocks have been added.
        count: How many values a channel has had.
    """

    def __init__(self, kind: Kind, channels: int) -> None:
        self.kind: Kind = kind
        self.blocks = self.count = 0
        self.total: F64 = np.zeros(channels)
        self.products: F64 = np.zeros((channels, channels) if kind == "phi-s" else channels)

    def add(self, rows: NDArray[np.float16], device: torch.device) -> None:
        """Add the next block: (B, C, h, w), summed on `device`."""
        values = torch.from_numpy(rows).to(device).double().transpose(0, 1).flatten(1)
        second = values @ values.T if self.kind == "phi-s" else values.square().sum(1)
        self.total = self.total + values.sum(1).cpu().numpy()
        self.products = self.products + second.cpu().numpy()
        self.count += values.shape[1]
        self.blocks += 1

    def save(self, path: Path) -> None:
        """Write the sums whole or not at all."""
        _save(
            path,
            {
                "progress": np.array([self.blocks, self.count]),
                "total": self.total,
                "products": self.products,
            },
        )

    @classmethod
    def load(cls, path: Path, kind: Kind, channels: int) -> Moments:
        """Read what `save` wrote; empty sums if it is missing or damaged."""
        moments = cls(kind, channels)
        parts = _load(path)
        if parts is not None and parts["products"].shape == moments.products.shape:
            moments.blocks, moments.count = (int(value) for value in parts["progress"])
            moments.total, moments.products = parts["total"], parts["products"]
        return moments

    def standardizer(self) -> Standardizer:
        """The standardization that these sums ask for.

        `channel` divides each channel by its own deviation, floored. `phi-s` is PHI-S (Ranzinger et
        al., PHI-S: Distribution Balancing for Label-Free Multi-Teacher Distillation, 2024, section
        2.2): `y = H U^T (t - mean) / phi` with U the eigenvectors of the covariance, `phi =
        sqrt(mean eigenvalue)` and H a normalized Hadamard matrix; where none of that order is
        known, `distill.teachers.cache.hadamard.leveling` in its place.
        """
        mean = self.total / self.count
        if self.kind == "channel":
            std = np.sqrt(np.maximum(self.products / self.count - mean**2, 0))
            scale = np.maximum(std, max(_STD_FLOOR * float(std.mean()), _LEAST))
            return Standardizer(_float32(mean), _float32(scale))
        values, vectors = np.linalg.eigh(self.products / self.count - np.outer(mean, mean))
        values = np.maximum(values, 0)
        largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(mean))]
        vectors = vectors * np.where(largest < 0, -1.0, 1.0)  # their signs are free: fix them
        matrix = hadamard(len(mean))
        rotation = (leveling(values) if matrix is None else matrix) @ vectors.T
        phi = max(float(np.sqrt(values.mean())), _LEAST)
        return Standardizer(_float32(mean), _float32(np.full(len(mean), phi)), _float32(rotation))


def _float32(values: F64) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _save(path: Path, parts: dict[str, NDArray[np.generic]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **parts)  # type: ignore[arg-type] # numpy's stub takes the names for its own options
    atomic_write(path, buffer.getvalue())


def _load(path: Path) -> dict[str, NDArray[np.float64]] | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as parts:
            return dict(parts)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
