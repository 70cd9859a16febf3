"""Screens as a cart's camera sees them: an octagonal endoscope picture with text beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edge.bench.measure.stream import phantom_images
from edge.errors import ParityError
from edge.imaging.crop import part_of
from edge.imaging.field_of_view import estimate

if TYPE_CHECKING:
    from edge.frame import Box, FieldOfView, ImageU8
    from edge.imaging.view import View


def screens(size: tuple[int, int]) -> list[ImageU8]:
    """Draw a processor's screen: phantom frames in an octagon, with sensor noise and text.

    Args:
        size: Height and width for 1080 lines.
    """
    mask, rng = octagon(size), np.random.default_rng(0)
    images = []
    for image in phantom_images(size):
        grain = rng.integers(0, 6, (*size, 1), np.uint8).repeat(3, axis=2)
        scene = cv2.add(cv2.bitwise_and(cv2.max(image, 40), cv2.merge([mask] * 3)), grain)
        cv2.putText(
            scene, "18/03/2013", (20, 300), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (230, 230, 230), 3
        )
        images.append(cast("ImageU8", scene))
    return images


def octagon(size: tuple[int, int]) -> ImageU8:
    """Return the field of view of such a screen, 1400 x 1000 pixels: 255 inside."""
    points = [
        (560, 40),
        (1560, 40),
        (1760, 240),
        (1760, 840),
        (1560, 1040),
        (560, 1040),
        (360, 840),
        (360, 240),
    ]
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.array(points, np.int32)], 255)
    return mask


def shown(image: ImageU8, rule: FieldOfView) -> tuple[View | None, Box | None]:
    """Find the view of a picture if the rule needs it, and the part that a student is shown.

    Raises:
        ParityError: The rule is `view`, and no view was found.
    """
    view = estimate(image) if rule == "view" else None
    part = part_of(rule, view)
    if view is not None and part is None:
        raise ParityError("the view of the screen is not found", expected="an octagon")
    return view, part
