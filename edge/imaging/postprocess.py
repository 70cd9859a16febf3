"""Convert the engine's small score map to regions in frame coordinates and to full-size scores.

Cell i of n covers frame pixels i * N / n to (i + 1) * N / n, so its center lies at pixel
(i + .5) * N / n - .5, as with `align_corners=False` in the training framework.
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

# Contours are traced on a grid of at most this many cells per side: finer than the score map, far
# smaller than a frame.
_GRID = 256
_ZOOM = 4


def level(threshold: float) -> int:
    """Return the lowest uint8 score that reaches `threshold` (0 to 1): `v / 256 >= threshold`.

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
    """Find the connected regions of the mask, in frame pixels, the largest first.

    Args:
        scores: (h, w) uint8 score map in 1/256.
        frame_size: Height and width of the frame.
        point: Threshold, minimum region and minimum peak.
        part: The part of the frame that the scores cover; None for the whole frame.

    Returns:
        Regions with box, outline (through the centers of the outermost cells), share of the part
        and highest score. Cells that meet at a corner are connected; a region inside a hole belongs
        to the region around it.
    """
    least = level(point.threshold)
    if least >= UNITS:
        return ()
    x, y, w, h = cv2.boundingRect(_reaching(scores, least))
    if w == 0:
        return ()
    height, width = scores.shape
    # An enlarged cell above the threshold is less than one cell away from a map cell above it.
    left, top = max(0, x - 1), max(0, y - 1)
    window = scores[top : y + h + 1, left : x + w + 1]
    zoom = _zoom(scores)
    window = _larger(window, zoom)
    whole_frame = (0, 0, frame_size[1], frame_size[0])
    place = _Place((height * zoom, width * zoom), (left * zoom, top * zoom), part or whole_frame)
    mask, outlines = outer_outlines(window, least)
    smallest = max(1.0, point.min_region * place.cells)
    candidates = [_region(outline, mask, window, place, smallest) for outline in outlines]
    strong = (region for region in candidates if region and region.score >= point.min_peak)
    return tuple(sorted(strong, key=lambda region: -region.area))


def enlarged(scores: ImageU8) -> ImageU8:
    """Enlarge a score map to the grid on which regions are found, with several cells per map cell.

    Args:
        scores: (h, w) uint8 in 1/256.

    Returns:
        (zoom * h, zoom * w) uint8 in 1/256.
    """
    return _larger(scores, _zoom(scores))


def outer_outlines(grid: ImageU8, least: int) -> tuple[ImageU8, Sequence[NDArray[np.int32]]]:
    """Threshold a grid and trace the outer outlines of its regions, ignoring regions in holes.

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


def mask_area(found_regions: Iterable[Region]) -> float:
    """Return the share of the analyzed area that regions cover, 0 to 1."""
    return sum(region.area for region in found_regions)


def native_scores(
    scores: NDArray[Any], size: tuple[int, int], part: Box | None = None
) -> NDArray[np.float32]:
    """Resize scores bilinearly to the size of a frame or mask; 0 outside of `part`.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        size: Height and width of the result.
        part: The part of the frame that the scores cover; None for the whole frame.

    Returns:
        (H, W) float32, 0 to 1.
    """
    scale = 1 / UNITS if scores.dtype == np.uint8 else 1.0
    small = scores.astype(np.float32) * np.float32(scale)
    return in_frame(small, size, part)


def in_frame(
    small: NDArray[np.float32], size: tuple[int, int], part: Box | None, outside: float = 0.0
) -> NDArray[np.float32]:
    """Stretch a small map bilinearly over its part of a frame.

    Args:
        small: (h, w) float32.
        size: Height and width of the frame.
        part: As in `native_scores`.
        outside: Value outside of the part.

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
    """Convert scores to the engines' units: uint8 in 1/256, rounded; uint8 stays unchanged."""
    if scores.dtype == np.uint8:
        return scores
    return cast("ImageU8", np.clip(np.rint(scores * UNITS), 0, UNITS - 1).astype(np.uint8))


def _zoom(scores: ImageU8) -> int:
    """Return the number of grid cells per map cell, in each direction."""
    height, width = scores.shape
    return max(1, min(_ZOOM, _GRID // max(int(height), int(width))))


def _larger(scores: ImageU8, zoom: int) -> ImageU8:
    if zoom == 1:
        return scores
    size = (scores.shape[1] * zoom, scores.shape[0] * zoom)
    # Plain linear interpolation differs by one between processors, and so would the outlines.
    return cast("ImageU8", cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR_EXACT))


def _reaching(scores: ImageU8, least: int) -> ImageU8:
    """Return 255 where a score reaches `least` (at least 1), else 0."""
    return cast("ImageU8", cv2.threshold(scores, least - 1, 255, cv2.THRESH_BINARY)[1])


class _Place(NamedTuple):
    """Position of a window of the grid.

    Attributes:
        grid: Height and width of the whole grid.
        origin: Column and row of the window's first cell.
        part: The part of the frame that the grid covers, in pixels.
    """

    grid: tuple[int, int]
    origin: tuple[int, int]
    part: Box

    @property
    def cells(self) -> int:
        """Number of cells of the whole grid."""
        return self.grid[0] * self.grid[1]

    @property
    def pixels(self) -> tuple[float, float]:
        """Width and height of a cell in frame pixels."""
        return self.part[2] / self.grid[1], self.part[3] / self.grid[0]


def _region(
    outline: NDArray[np.int32], mask: ImageU8, scores: ImageU8, place: _Place, smallest: float
) -> Region | None:
    """Return the region inside an outline, None if it has fewer than `smallest` cells."""
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
