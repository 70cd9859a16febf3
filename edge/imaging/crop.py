"""The part of a frame that a student is shown: all of it, or what surrounds the endoscope's picture.

A processor's whole screen shows the picture small, beside text and panels, and a student that
learnt on pictures loses on it. Under the rule `view` it is shown the box of the field of view with
a margin, in training and evaluation as on the cart.
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
"""Share of the view's width and height that is kept on each side: an estimate may lie inside the rim."""
STEP = 4
"""Pixels to whose multiples a part reaches outwards: it stays where it is while the view trembles, and halves exactly."""


def part_of(rule: FieldOfView, view: View | None) -> Box | None:
    """The part of a frame that the rule of a bundle or run shows.

    Args:
        rule: `full-frame` or `view`.
        view: The field of view of that frame; None where it was not looked for.

    Returns:
        In frame pixels; None for the whole frame, which also stands for a view that was not found.
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
    """A part of a picture or mask, (H, W) or (H, W, 3): the same memory; None is the whole."""
    if part is None:
        return picture
    x, y, width, height = part
    return cast("Picture", picture[y : y + height, x : x + width])


def seen_part(image: ImageU8, rule: FieldOfView) -> Box | None:
    """The part of a single picture, whose view is estimated from it alone.

    Args:
        image: (H, W, 3) uint8 RGB.
        rule: As in `part_of`.

    Raises:
        DataError: `image` is no such picture.
    """
    if rule == "full-frame":
        return None
    return part_of(rule, estimate(np.ascontiguousarray(image[..., ::-1])))


def _reach(begin: int, length: int, side: int) -> tuple[int, int]:
    """Both ends of an extent with its margin, outwards to multiples of `STEP`, inside the frame."""
    margin = MARGIN * length
    first = int((begin - margin) // STEP) * STEP
    last = -int(-(begin + length + margin) // STEP) * STEP
    return max(0, first), min(side, last)
