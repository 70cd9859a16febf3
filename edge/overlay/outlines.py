"""Smooth the outlines of regions for drawing; masks, boxes and areas are never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SHARE = 1 / 40
"""Largest smoothing as a share of the length; a circle shrinks by 1.2 % of its radius."""

_POINTS = 512
"""Maximum number of points of a smoothed outline."""


def smooth_outline(
    contour: Sequence[tuple[int, int]], sigma: float, tolerance: float
) -> NDArray[np.int32]:
    """Remove the steps of the score map's cells from an outline.

    The outline is resampled at equal distances, and its points are averaged with their neighbors by
    a Gaussian window along the outline.

    Args:
        contour: Closed outline, (x, y) in frame pixels.
        sigma: Standard deviation of the window, pixels along the outline; less on a short outline.
        tolerance: Maximum distance in pixels by which the result is simplified.

    Returns:
        (N, 1, 2) int32, for `cv2.polylines`.
    """
    points = np.array(contour, np.float64).reshape(-1, 2)
    steps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    length = float(steps.sum())
    sigma = min(sigma, length * _SHARE)
    if sigma >= 1 and len(points) > 2:
        points = _averaged(points, steps, length, sigma)
    # Simplify: the cost of a thick line grows with its corners.
    rounded = np.rint(points).astype(np.int32)[:, None]
    return cast("NDArray[np.int32]", cv2.approxPolyDP(rounded, tolerance, True))


def _averaged(
    points: NDArray[np.float64], steps: NDArray[np.float64], length: float, sigma: float
) -> NDArray[np.float64]:
    """Resample a closed outline and average it along itself."""
    count = int(min(_POINTS, max(16, 2 * length / sigma)))
    at = np.concatenate([[0.0], np.cumsum(steps)])
    closed = np.concatenate([points, points[:1]])
    where = np.arange(count) * (length / count)
    even = np.stack([np.interp(where, at, closed[:, axis]) for axis in (0, 1)], axis=1)
    spread = sigma * count / length  # in points
    reach = min(max(1, round(3 * spread)), count // 2 - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    weights /= weights.sum()
    wrapped = np.concatenate([even[-reach:], even, even[:reach]])
    return np.stack([np.convolve(wrapped[:, axis], weights, "valid") for axis in (0, 1)], axis=1)
