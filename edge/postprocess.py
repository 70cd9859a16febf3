"""From the engine's small score map to regions in frame coordinates, and to scores at full size.

The grids are half-pixel: cell i of n covers frame pixels i * N / n to (i + 1) * N / n, so that its centre lies at
pixel (i + .5) * N / n - .5, the `align_corners=False` of the training framework.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from edge.errors import UsageError
from edge.types import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edge.types import ImageU8

UNITS = 256
"""Steps of a score: the uint8 value v means v / 256."""

# Contours are found on a grid of at most this many cells a side: finer than the map, far smaller than a frame.
_GRID = 256
_ZOOM = 4


def level(threshold: float) -> int:
    """Least uint8 score that reaches `threshold` (0 to 1): `v / 256 >= threshold`.

    Raises:
        UsageError: `threshold` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise UsageError("the threshold is not usable", expected="more than 0, at most 1", got=f"{threshold}")
    return math.ceil(threshold * UNITS)


def regions(
    scores: ImageU8, frame_size: tuple[int, int], *, threshold: float, min_region: float
) -> tuple[Region, ...]:
    """Connected regions of the mask, in frame pixels, the largest first.

    Args:
        scores: (h, w) uint8 score map in 1/256.
        frame_size: Height and width of the frame.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        min_region: Smallest region that is kept, share of the frame.

    Returns:
        Regions with box, outline (through the centres of the outermost cells), share of the frame and highest
        score. Cells that meet at a corner are connected; what lies in a hole counts to the region around it.
    """
    least = level(threshold)
    if least >= UNITS or not cv2.minMaxLoc(scores)[1] >= least:
        return ()
    height, width = scores.shape
    zoom = max(1, min(_ZOOM, _GRID // max(height, width)))
    if zoom > 1:
        # The plain linear step differs by one between processors, and with it the outlines.
        enlarged = cv2.resize(scores, (width * zoom, height * zoom), interpolation=cv2.INTER_LINEAR_EXACT)
        scores = cast("ImageU8", enlarged)
    mask = cv2.compare(scores, float(least), cv2.CMP_GE)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    smallest = max(1.0, min_region * mask.size)
    found = [_region(outline, mask, scores, frame_size, smallest) for outline in outlines]
    return tuple(sorted((region for region in found if region), key=lambda region: -region.area))


def mask_area(found: Iterable[Region]) -> float:
    """Share of the frame that regions cover, 0 to 1."""
    return sum(region.area for region in found)


def native_scores(scores: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Scores at the size of a frame or mask, bilinear.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        size: Height and width to make.

    Returns:
        (H, W) float32, 0 to 1.
    """
    scale = 1 / UNITS if scores.dtype == np.uint8 else 1.0
    small = scores.astype(np.float32) * np.float32(scale)
    return cast("NDArray[np.float32]", cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR))


def to_units(scores: NDArray[Any]) -> ImageU8:
    """Scores as the engines give them: uint8 in 1/256, rounded; uint8 is passed through."""
    if scores.dtype == np.uint8:
        return scores
    return cast("ImageU8", np.clip(np.rint(scores * UNITS), 0, UNITS - 1).astype(np.uint8))


def _region(
    outline: NDArray[np.int32],
    mask: ImageU8,
    scores: ImageU8,
    frame_size: tuple[int, int],
    smallest: float,
) -> Region | None:
    """The region inside an outline of the grid, None where it has fewer than `smallest` cells."""
    left, top, width, height = cv2.boundingRect(outline)
    if width * height < smallest:
        return None
    window = np.s_[top : top + height, left : left + width]
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline], 0, 255, cv2.FILLED, offset=(-left, -top))
    # Holes are not part of the region.
    cv2.bitwise_and(inside, mask[window], dst=inside)
    area = cv2.countNonZero(inside)
    if area < smallest:
        return None
    sx, sy = frame_size[1] / mask.shape[1], frame_size[0] / mask.shape[0]
    points = np.rint((outline[:, 0] + 0.5) * (sx, sy) - 0.5).astype(int)
    x, y = round(left * sx), round(top * sy)
    return Region(
        box=(x, y, round((left + width) * sx) - x, round((top + height) * sy) - y),
        contour=tuple((px, py) for px, py in points.tolist()),
        area=area / mask.size,
        score=cv2.minMaxLoc(scores[window], inside)[1] / UNITS,
    )
