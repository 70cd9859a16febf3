"""From the engine's small score map to regions in frame coordinates, and to scores at full size.

The grids are half-pixel: cell i of n covers frame pixels i * N / n to (i + 1) * N / n, so that its
centre lies at pixel (i + .5) * N / n - .5, the `align_corners=False` of the training framework.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

from edge.errors import UsageError
from edge.frame import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8, OperatingPoint

UNITS = 256
"""Steps of a score: the uint8 value v means v / 256."""

# Contours are found on a grid of at most this many cells a side: finer than the map, far smaller
# than a frame.
_GRID = 256
_ZOOM = 4


def level(threshold: float) -> int:
    """Least uint8 score that reaches `threshold` (0 to 1): `v / 256 >= threshold`.

    Raises:
        UsageError: `threshold` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise UsageError(
            "the threshold is not usable", expected="more than 0, at most 1", got=f"{threshold}"
        )
    return math.ceil(threshold * UNITS)


def regions(
    scores: ImageU8,
    frame_size: tuple[int, int],
    point: OperatingPoint,
    *,
    part: Box | None = None,
) -> tuple[Region, ...]:
    """Connected regions of the mask, in frame pixels, the largest first.

    Args:
        scores: (h, w) uint8 score map in 1/256.
        frame_size: Height and width of the frame.
        point: Threshold, least region and least peak.
        part: What of the frame the scores cover; None for all of it.

    Returns:
        Regions with box, outline (through the centres of the outermost cells), share of the part
        and highest score. Cells that meet at a corner are connected; what lies in a hole counts to
        the region around it.
    """
    least = level(point.threshold)
    if least >= UNITS:
        return ()
    x, y, w, h = cv2.boundingRect(_reaching(scores, least))
    if w == 0:
        return ()
    height, width = scores.shape
    # What reaches the threshold once enlarged lies less than a cell beside a cell that does.
    left, top = max(0, x - 1), max(0, y - 1)
    window = scores[top : y + h + 1, left : x + w + 1]
    zoom = _zoom(scores)
    window = _larger(window, zoom)
    whole = (0, 0, frame_size[1], frame_size[0])
    place = _Place((height * zoom, width * zoom), (left * zoom, top * zoom), part or whole)
    mask, outlines = outer_outlines(window, least)
    smallest = max(1.0, point.min_region * place.cells)
    found = [_region(outline, mask, window, place, smallest) for outline in outlines]
    kept = (region for region in found if region and region.score >= point.min_peak)
    return tuple(sorted(kept, key=lambda region: -region.area))


def enlarged(scores: ImageU8) -> ImageU8:
    """A score map on the grid on which its regions are found, a few cells for each of its own.

    Args:
        scores: (h, w) uint8 in 1/256.

    Returns:
        (zoom * h, zoom * w) uint8 in 1/256.
    """
    return _larger(scores, _zoom(scores))


def outer_outlines(grid: ImageU8, least: int) -> tuple[ImageU8, Sequence[NDArray[np.int32]]]:
    """What reaches a score, and the outlines of its regions without those of what lies in a hole.

    Args:
        grid: (H, W) uint8 in 1/256.
        least: Score in 1/256, at least 1.

    Returns:
        (H, W) uint8, 255 where `grid` reaches `least`, and for each region (n, 1, 2) columns and
        rows.
    """
    mask = _reaching(grid, least)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return mask, cast("Sequence[NDArray[np.int32]]", outlines)


def mask_area(found: Iterable[Region]) -> float:
    """Share of what the student was shown that regions cover, 0 to 1."""
    return sum(region.area for region in found)


def native_scores(
    scores: NDArray[Any], size: tuple[int, int], part: Box | None = None
) -> NDArray[np.float32]:
    """Scores at the size of a frame or mask, bilinear; 0 where they do not reach.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        size: Height and width to make.
        part: What of the frame the scores cover; None for all of it.

    Returns:
        (H, W) float32, 0 to 1.
    """
    scale = 1 / UNITS if scores.dtype == np.uint8 else 1.0
    small = scores.astype(np.float32) * np.float32(scale)
    return in_frame(small, size, part)


def in_frame(
    small: NDArray[np.float32], size: tuple[int, int], part: Box | None, outside: float = 0.0
) -> NDArray[np.float32]:
    """A small map, stretched bilinearly over its part of a frame.

    Args:
        small: (h, w) float32.
        size: Height and width of the frame.
        part: As in `native_scores`.
        outside: Value of what is no part of it.

    Returns:
        (H, W) float32.
    """
    x, y, width, height = part or (0, 0, size[1], size[0])
    wide = cast(
        "NDArray[np.float32]", cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    )
    if (height, width) == size:
        return wide
    frame = np.full(size, outside, np.float32)
    frame[y : y + height, x : x + width] = wide
    return frame


def to_units(scores: NDArray[Any]) -> ImageU8:
    """Scores as the engines give them: uint8 in 1/256, rounded; uint8 is passed through."""
    if scores.dtype == np.uint8:
        return scores
    return cast("ImageU8", np.clip(np.rint(scores * UNITS), 0, UNITS - 1).astype(np.uint8))


def _zoom(scores: ImageU8) -> int:
    """Cells of the grid for each cell of a map, in each direction."""
    height, width = scores.shape
    return max(1, min(_ZOOM, _GRID // max(int(height), int(width))))


def _larger(scores: ImageU8, zoom: int) -> ImageU8:
    if zoom == 1:
        return scores
    size = (scores.shape[1] * zoom, scores.shape[0] * zoom)
    # The plain linear step differs by one between processors, and with it the outlines.
    return cast("ImageU8", cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR_EXACT))


def _reaching(scores: ImageU8, least: int) -> ImageU8:
    """255 where a score reaches `least`, which is at least 1."""
    return cast("ImageU8", cv2.threshold(scores, least - 1, 255, cv2.THRESH_BINARY)[1])


class _Place(NamedTuple):
    """Where a window of the grid lies.

    Attributes:
        grid: Height and width of the whole grid.
        origin: Column and row of the window's first cell.
        part: What the grid covers, frame pixels.
    """

    grid: tuple[int, int]
    origin: tuple[int, int]
    part: Box

    @property
    def cells(self) -> int:
        """Of the whole grid."""
        return self.grid[0] * self.grid[1]

    @property
    def pixels(self) -> tuple[float, float]:
        """Width and height of a cell, frame pixels."""
        return self.part[2] / self.grid[1], self.part[3] / self.grid[0]


def _region(
    outline: NDArray[np.int32], mask: ImageU8, scores: ImageU8, place: _Place, smallest: float
) -> Region | None:
    """The region inside an outline of a window of the grid, None where it has fewer than `smallest` cells."""
    left, top, width, height = cv2.boundingRect(outline)
    if width * height < smallest:
        return None
    box = np.s_[top : top + height, left : left + width]
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline], 0, 255, cv2.FILLED, offset=(-left, -top))
    # Holes are not part of the region.
    cv2.bitwise_and(inside, mask[box], dst=inside)
    area = cv2.countNonZero(inside)
    if area < smallest:
        return None
    sx, sy = place.pixels
    px, py = place.part[:2]
    points = np.rint((outline[:, 0] + place.origin + 0.5) * (sx, sy) - 0.5).astype(int)
    points += np.array((px, py))
    left, top = left + place.origin[0], top + place.origin[1]
    x, y = round(left * sx), round(top * sy)
    return Region(
        box=(px + x, py + y, round((left + width) * sx) - x, round((top + height) * sy) - y),
        contour=tuple((column, row) for column, row in points.tolist()),
        area=area / place.cells,
        score=cv2.minMaxLoc(scores[box], inside)[1] / UNITS,
    )
