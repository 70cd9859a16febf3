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
    """Where the endoscope's picture lies.

    Attributes:
        box: In frame pixels.
        mask: (h, w) uint8, 255 inside; cell i of n covers frame pixels i * N / n to (i + 1) * N /
            n.
        frame_size: Height and width of the frame.
        found: Whether it was seen in a picture; False where the whole frame stands for it.
    """

    box: Box
    mask: ImageU8
    frame_size: tuple[int, int]
    found: bool = True


def whole_frame(frame_size: tuple[int, int], cells: tuple[int, ...] = (1, 1)) -> View:
    """The view of a frame in which none was found.

    Args:
        frame_size: Height and width of the frame.
        cells: Height and width of the mask.
    """
    return View(
        (0, 0, frame_size[1], frame_size[0]), np.full(cells, 255, np.uint8), frame_size, found=False
    )


def inside(regions: Iterable[Region], view: View, share: float = SHARE) -> tuple[Region, ...]:
    """The regions of which at least `share` lies inside the view, in their order.

    Args:
        regions: In frame pixels.
        view: The field of view of that frame.
        share: 0 to 1.
    """
    return tuple(region for region in regions if _share_inside(region, view) >= share)


def restrict(result: Result, view: View, share: float = SHARE) -> Result:
    """A result without the regions outside the view, and with the view's box.

    Args:
        result: What was found on a frame.
        view: The field of view of that frame.
        share: Minimum share of a region inside the view, 0 to 1.
    """
    kept = inside(result.regions, view, share)
    area = (
        result.mask_area
        if len(kept) == len(result.regions)
        else sum(region.area for region in kept)
    )
    return replace(result, regions=kept, mask_area=area, field_of_view=view.box)


def black_outside(image: ImageU8, view: View) -> ImageU8:
    """A copy of a picture that is black outside the view, where processors write who the patient is.

    What a processor writes over the view itself stays.

    Args:
        image: (H, W) or (H, W, 3) uint8 of the view's frame size.
        view: The field of view.
    """
    height, width = image.shape[:2]
    mask = cv2.resize(view.mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return cast("ImageU8", cv2.bitwise_and(image, image, mask=mask))


def _share_inside(region: Region, view: View) -> float:
    """Share of a region's cells that lie in the mask; of the middle of its box where it has no outline."""
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
    whole = cv2.countNonZero(filled)
    top_in, left_in = max(top, 0), max(left, 0)
    window = view.mask[top_in : max(bottom, 0), left_in : max(right, 0)]
    part = filled[top_in - top :, left_in - left :][: window.shape[0], : window.shape[1]]
    return cv2.countNonZero(cv2.bitwise_and(part, window)) / whole if window.size else 0.0
