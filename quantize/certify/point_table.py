"""Results of every candidate operating point on one score map: Dice, polyps found, frames flagged.

Regions are found once per threshold, on the same grid as on the device
(`edge.imaging.postprocess.regions`); minimum region and minimum peak only select among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.evaluation.findings import FLAG_AREA
from edge.imaging.postprocess import UNITS, enlarged, outer_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8, MaskBool

LEVELS = (*range(4, 240, 4), *range(240, UNITS))
"""Candidate thresholds in 1/256: steps of 4 while Dice changes slowly, every value above 240."""
MIN_REGIONS = tuple(step * FLAG_AREA for step in (1, 2, 3, 4, 5))
"""Candidate minimum regions, as shares of the part that the student is shown."""
PEAKS = UNITS
"""Number of candidate minimum peaks: k / 256 for all k from 0 to 255."""


class PolypTable(NamedTuple):
    """Results of all candidates on a frame with a polyp.

    Attributes:
        dice: (levels, regions, peaks) Dice of the kept regions, computed on the score grid.
        touching: (levels, regions) highest score in 1/256 of a region that touches the polyp; -1
            without one.
    """

    dice: NDArray[np.float32]
    touching: NDArray[np.int16]


class _Regions(NamedTuple):
    """The regions at one threshold.

    Attributes:
        area: (n,) number of cells.
        peak: (n,) highest score in 1/256.
        both: (n,) number of cells covered by the polyp, counted by their covered shares; 0 without
        one.
    """

    area: NDArray[np.float64]
    peak: NDArray[np.int64]
    both: NDArray[np.float64]


def polyp_table(scores: ImageU8, true: MaskBool, part: Box | None = None) -> PolypTable:
    """Compute the results of every candidate on a frame with a polyp.

    Args:
        scores: (h, w) uint8 in 1/256.
        true: (H, W) bool mask, not empty.
        part: Part of the frame that the scores cover; None for the whole frame.
    """
    grid = enlarged(scores)
    covered, mask_weight = _coverage(true, grid.shape, part)
    dice = np.zeros((len(LEVELS), len(MIN_REGIONS), PEAKS), np.float32)
    touching = np.full(dice.shape[:2], -1, np.int16)
    for row, level in enumerate(LEVELS):
        regions = _regions(grid, level, covered)
        if not regions.area.size:
            # A higher threshold leaves no region either.
            break
        large = _large(regions.area, grid.size)
        reach = regions.peak[:, None] >= np.arange(PEAKS)
        area, both = ((large * weights) @ reach for weights in (regions.area, regions.both))
        dice[row] = 2 * both / (area + mask_weight)
        touching[row] = _highest(regions.peak, large & (regions.both > 0))
    return PolypTable(dice, touching)


def clean_table(scores: ImageU8) -> NDArray[np.int16]:
    """Compute the highest score in 1/256 of a region that each candidate keeps on a clean frame.

    Args:
        scores: (h, w) uint8 in 1/256.

    Returns:
        (levels, regions); -1 without a region. A minimum peak up to this value flags the frame.
    """
    grid = enlarged(scores)
    highest = np.full((len(LEVELS), len(MIN_REGIONS)), -1, np.int16)
    for row, level in enumerate(LEVELS):
        regions = _regions(grid, level, None)
        if not regions.area.size:
            break
        highest[row] = _highest(regions.peak, _large(regions.area, grid.size))
    return highest


def _regions(grid: ImageU8, level: int, covered: NDArray[np.float32] | None) -> _Regions:
    """Find the regions at a threshold; a hole counts as part of the region around it."""
    mask, outlines = outer_outlines(grid, level)
    x, y, w, h = cv2.boundingRect(mask)
    labels = np.zeros((h, w), np.int32)
    for number, outline in enumerate(outlines, start=1):
        cv2.drawContours(labels, [outline], 0, number, cv2.FILLED, offset=(-x, -y))
    box = np.s_[y : y + h, x : x + w]
    inside = mask[box] > 0
    which, count = labels[inside], len(outlines) + 1
    peak = np.zeros(count, np.int64)
    np.maximum.at(peak, which, grid[box][inside].astype(np.int64))
    both = np.zeros(count) if covered is None else np.bincount(which, covered[box][inside], count)
    area = np.bincount(which, minlength=count)[1:].astype(np.float64)
    return _Regions(area, peak[1:], both[1:].astype(np.float64))


def _large(area: NDArray[np.float64], cells: int) -> NDArray[np.bool_]:
    """Return (regions, n): whether each minimum region keeps each region."""
    smallest = np.maximum(1.0, np.array(MIN_REGIONS) * cells)
    large: NDArray[np.bool_] = area >= smallest[:, None]
    return large


def _highest(peak: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (regions,) the highest peak among the kept regions; -1 without any."""
    highest: NDArray[np.int64] = np.where(allowed, peak, -1).max(axis=1)
    return highest


def _coverage(
    true: MaskBool, grid: tuple[int, ...], part: Box | None
) -> tuple[NDArray[np.float32], float]:
    """Return the polyp's share of each cell, and its whole area in cells, also outside the part."""
    x, y, width, height = part or (0, 0, true.shape[1], true.shape[0])
    part_of_mask = true[y : y + height, x : x + width].astype(np.float32)
    shrinks = height >= grid[0] and width >= grid[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    covered = np.asarray(
        cv2.resize(part_of_mask, (grid[1], grid[0]), interpolation=how), np.float32
    )
    outside = (
        (np.count_nonzero(true) - float(part_of_mask.sum())) * covered.size / part_of_mask.size
    )
    return covered, float(covered.sum()) + outside
