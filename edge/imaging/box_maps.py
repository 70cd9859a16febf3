"""Boxes from the maps of a detection head: peaks of a heat map, with size and offset at each.

CenterNet's reading (Zhou et al., Objects as points, 2019), as in ECC-PolypDet (Jiang et al., 2024):
a cell that is the highest of its 3x3 neighborhood is the center of a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np

from edge.frame import PLANES, Region
from edge.imaging.postprocess import UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8

LEAST_SCORE = 0.3
"""Score from which a peak is a box (ECC-PolypDet)."""
LARGEST_OVERLAP = 0.3
"""IoU from which the lower of two boxes is dropped (ECC-PolypDet)."""
MOST_BOXES = 20
"""Peaks of an image that are looked at."""

Edges = tuple[float, float, float, float]
"""Left, upper, right and lower edge."""


class ScoredBox(NamedTuple):
    """A box in shares of the image.

    Attributes:
        edges: Each from 0 to 1.
        score: 0 to 1.
    """

    edges: Edges
    score: float


def read_boxes(
    heat: NDArray[np.float32],
    size: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    least: float = LEAST_SCORE,
) -> list[ScoredBox]:
    """Read the boxes of one image, the highest score first.

    Args:
        heat: (h, w), 0 to 1.
        size: (2, h, w), width and height of a box in shares of the image.
        offset: (2, h, w), column and row of the center inside its cell, 0 to 1.
        least: Score from which a peak is a box.
    """
    highest = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((heat >= highest) & (heat >= least))
    order = np.argsort(-heat[rows, columns], kind="stable")[:MOST_BOXES]
    height, width = heat.shape
    boxes = []
    for row, column in zip(rows[order], columns[order], strict=True):
        x = (column + float(offset[0, row, column])) / width
        y = (row + float(offset[1, row, column])) / height
        half = float(size[0, row, column]) / 2, float(size[1, row, column]) / 2
        edges = (max(x - half[0], 0), max(y - half[1], 0), min(x + half[0], 1), min(y + half[1], 1))
        boxes.append(ScoredBox(edges, float(heat[row, column])))
    return suppress(boxes)


def mask_plane(scores: ImageU8, planes: int) -> ImageU8:
    """The mask's scores (h, w) of an engine's output (planes * h, w)."""
    return scores[: scores.shape[0] // planes]


def box_regions(scores: ImageU8, part: Box) -> tuple[Region, ...]:
    """Boxes of an engine's output as regions whose outlines are their rectangles.

    Args:
        scores: (6 h, w) uint8 in 1/256.
        part: x, y, width and height of what the scores cover, in pixels of the frame.

    Returns:
        The highest score first; `area` is the share of `part` inside of the box.
    """
    values = scores.reshape(PLANES, scores.shape[0] // PLANES, scores.shape[1])
    heat, size, offset = (
        cast("NDArray[np.float32]", plane.astype(np.float32) / np.float32(UNITS))
        for plane in (values[1], values[2:4], values[4:6])
    )
    left, top, width, height = part
    result = []
    for edges, score in read_boxes(heat, size, offset):
        x, right = (round(left + edge * width) for edge in edges[::2])
        y, low = (round(top + edge * height) for edge in edges[1::2])
        if right > x and low > y:
            corners = ((x, y), (right - 1, y), (right - 1, low - 1), (x, low - 1))
            box = (x, y, right - x, low - y)
            result.append(Region(box, corners, box[2] * box[3] / (width * height), score))
    return tuple(result)


def suppress(boxes: Sequence[ScoredBox]) -> list[ScoredBox]:
    """Drop each box that overlaps one before it with an IoU over `LARGEST_OVERLAP`."""
    best: list[ScoredBox] = []
    for box in boxes:
        if all(edge_iou(box.edges, other.edges) <= LARGEST_OVERLAP for other in best):
            best.append(box)
    return best


def edge_iou(one: Edges, other: Edges) -> float:
    """IoU of two boxes; 0 for boxes without area."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    both = max(across, 0.0) * max(down, 0.0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    total = sum(areas) - both
    return both / total if total > 0 else 0.0
