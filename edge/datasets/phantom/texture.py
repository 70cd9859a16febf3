"""Seamless textures of mucosa: mottling, vessels, grain and wetness."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    F32 = NDArray[np.float32]

TILES, TILE = 8, 512
"""Number of textures, and their side in texels."""


@lru_cache(maxsize=TILES)
def tile(number: int) -> NDArray[np.uint8]:
    """Make a seamless texture (TILE, TILE, 4): mottling, vessels, grain, wetness."""
    rng = np.random.default_rng([20, number])
    mottle = _noise(rng, 4) + 0.6 * _noise(rng, 8) + 0.3 * _noise(rng, 32)
    grain = _noise(rng, 64) + 0.7 * _noise(rng, 128)
    wet = _noise(rng, 4) + 0.7 * _noise(rng, 8, 32) + 0.8 * _noise(rng, 32, 64)
    canvas = np.zeros((3 * TILE, 3 * TILE), np.uint8)
    for _ in range(16):
        start = rng.uniform(TILE, 2 * TILE, 2)
        _vessel(canvas, rng, start, rng.uniform(0, 2 * np.pi), int(rng.integers(3, 6)))
    vessels = canvas.reshape(3, TILE, 3, TILE).max(axis=(0, 2))
    wrapped = cv2.GaussianBlur(np.tile(vessels, (3, 3)), (0, 0), 1.3)[
        TILE : 2 * TILE, TILE : 2 * TILE
    ]
    channels = [_stretched(mottle), wrapped, _stretched(grain), _stretched(wet)]
    texture: NDArray[np.uint8] = np.ascontiguousarray(np.stack(channels, axis=-1))
    return texture


def _vessel(
    canvas: NDArray[np.uint8], rng: Generator, start: NDArray[np.float64], angle: float, width: int
) -> None:
    points = [start]
    for _ in range(rng.integers(12, 30)):
        angle += rng.normal(0, 0.28)
        points.append(points[-1] + 8 * np.array((np.cos(angle), np.sin(angle))))
        if width > 1 and rng.random() < 0.13:
            _vessel(canvas, rng, points[-1], angle + rng.choice((-0.7, 0.7)), width - 1)
    line = np.round(np.array(points) * 8).astype(np.int32)
    cv2.polylines(canvas, [line], False, 80 + 35 * width, width, cv2.LINE_AA, 3)


def _noise(rng: Generator, cells: int, rows: int = 0) -> F32:
    """Make seamless smooth noise (TILE, TILE): `cells` along x, and `rows` or `cells` along y."""
    grid = np.pad(rng.standard_normal((rows or cells, cells)).astype(np.float32), 2, mode="wrap")
    dx, dy = TILE // cells, TILE // (rows or cells)
    smooth: F32 = cv2.resize(grid, None, fx=dx, fy=dy, interpolation=cv2.INTER_CUBIC)
    return smooth[2 * dy : 2 * dy + TILE, 2 * dx : 2 * dx + TILE]


def _stretched(values: F32) -> NDArray[np.uint8]:
    low, high = np.quantile(values, (0.005, 0.995))
    stretched: NDArray[np.uint8] = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(
        np.uint8
    )
    return stretched
