"""The field of view: which regions lie inside it, and an image that is black outside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.frame import Box, ImageU8, Region, Result

SHARE = 0.5
"""Minimum share of a region inside the view for the region to be kept."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The field of view of a frame.

    Attributes:
        box: Bounding box in frame pixels.
        mask: (h, w) uint8, 255 inside; cell i of n covers frame pixels i * N / n to (i + 1) * N /
            n.
        frame_size: Height and width of the frame.
        found: Whether the view was detected; False if it is the whole frame by default.
    """

    box: Box
    mask: ImageU8
    frame_size: tuple[int, int]
    found: bool = True


def whole_frame(frame_size: tuple[int, int], cells: tuple[int, ...] = (1, 1)) -> View:
    """Return the default view, the whole frame, for frames without a detected view.

    Args:
        frame_size: Height and width of the frame.
        cells: Height and width of the mask.
    """
    return View(
        (0, 0, frame_size[1], frame_size[0]), np.full(cells, 255, np.uint8), frame_size, found=False
    )


def inside(regions: Iterable[Region], view: View, share: float = SHARE) -> tuple[Region, ...]:
    """Return the regions of which at least `share` lies inside the view, in the same order.

    Args:
        regions: Regions in frame pixels.
        view: The field of view of that frame.
        share: Minimum share, 0 to 1.
    """
    return tuple(region for region in regions if _share_inside(region, view) >= share)


def restrict(result: Result, view: View, share: float = SHARE) -> Result:
    """Return a result without the regions outside the view, and with the view's box.

    Args:
        result: What was found on a frame.
        view: The field of view of that frame.
        share: Minimum share of a region inside the view, 0 to 1.
    """
    inside_regions = inside(result.regions, view, share)
    area = (
        result.mask_area
        if len(inside_regions) == len(result.regions)
        else sum(region.area for region in inside_regions)
    )
    boxes = inside(result.boxes, view, share)
    return replace(
        result, regions=inside_regions, boxes=boxes, mask_area=area, field_of_view=view.box
    )


def black_outside(image: ImageU8, view: View) -> ImageU8:
    """Return a copy that is black outside the view, where processors show patient data.

    Text that a processor writes over the view itself stays.

    Args:
        image: (H, W) or (H, W, 3) uint8 of the view's frame size.
        view: The field of view.
    """
    height, width = image.shape[:2]
    mask = cv2.resize(view.mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return cast("ImageU8", cv2.bitwise_and(image, image, mask=mask))


def _share_inside(region: Region, view: View) -> float:
    """Return the share of a region in the mask; without an outline, its box center decides."""
    rows, columns = view.mask.shape
    fy, fx = rows / view.frame_size[0], columns / view.frame_size[1]
    if len(region.contour) < 3:
        x, y, width, height = region.box
        row, column = int((y + height / 2) * fy), int((x + width / 2) * fx)
        return float(view.mask[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)] > 0)
    cells = np.floor(np.array(region.contour, np.float64) * (fx, fy)).astype(np.int32)
    left, top = cells.min(axis=0)
    right, bottom = cells.max(axis=0) + 1
    filled = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(filled, [cells - (left, top)], 255)
    filled_pixels = cv2.countNonZero(filled)
    top_in, left_in = max(top, 0), max(left, 0)
    window = view.mask[top_in : max(bottom, 0), left_in : max(right, 0)]
    part = filled[top_in - top :, left_in - left :][: window.shape[0], : window.shape[1]]
    return cv2.countNonZero(cv2.bitwise_and(part, window)) / filled_pixels if window.size else 0.0
