"""Crop a frame for the student: the whole frame, or the box around the endoscope's field of view.

On a processor's full screen the endoscopic image is small, beside text and panels, and a student
trained on plain images loses accuracy. Under the rule `view` the student gets the box of the field
of view with a margin, in training and evaluation as on the cart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from edge.imaging.field_of_view import estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Box, FieldOfView, ImageU8
    from edge.imaging.view import View

Picture = TypeVar("Picture", bound="NDArray[Any]")

MARGIN = 0.03
"""Margin on each side, as a share of the view's width and height: an estimate may be too small."""
STEP = 4
"""The crop is extended outward to multiples of this number of pixels.

Small changes of the view then do not move the crop, and the crop can be halved exactly.
"""


def part_of(rule: FieldOfView, view: View | None) -> Box | None:
    """Return the part of a frame that the student gets under a rule.

    Args:
        rule: `full-frame` or `view`.
        view: The field of view of that frame; None if it was not estimated.

    Returns:
        The box in frame pixels; None for the whole frame, also if no view was found.
    """
    if rule == "full-frame" or view is None or not view.found:
        return None
    height, width = view.frame_size
    x, y, w, h = view.box
    left, right = _reach(x, w, width)
    top, low = _reach(y, h, height)
    part = (left, top, right - left, low - top)
    return None if part == (0, 0, width, height) else part


def cut(picture: Picture, part: Box | None) -> Picture:
    """Return a part of an image or mask, (H, W) or (H, W, 3), as a view; None is the whole."""
    if part is None:
        return picture
    x, y, width, height = part
    return cast("Picture", picture[y : y + height, x : x + width])


def seen_part(image: ImageU8, rule: FieldOfView) -> Box | None:
    """Return the crop of a single image, whose view is estimated from this image alone.

    Args:
        image: (H, W, 3) uint8 RGB.
        rule: As in `part_of`.

    Raises:
        DataError: `image` has a different shape or type.
    """
    if rule == "full-frame":
        return None
    return part_of(rule, estimate(np.ascontiguousarray(image[..., ::-1])))


def _reach(begin: int, length: int, side: int) -> tuple[int, int]:
    """Extend an interval by its margin and to multiples of `STEP`, within the frame."""
    margin = MARGIN * length
    first = int((begin - margin) // STEP) * STEP
    last = -int(-(begin + length + margin) // STEP) * STEP
    return max(0, first), min(side, last)
