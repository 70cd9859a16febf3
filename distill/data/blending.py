"""Joining two images by their gradients (Perez et al., Poisson image editing, SIGGRAPH 2003)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

EROSION = 3
"""Pixels by which OpenCV's cloning shrinks its region; visible content must lie further inside."""
_FRAME = 4
"""Pixels added around the image while it is filled: the region may not touch its edge."""


def blend(filling: Image, image: Image, region: Image) -> Image:
    """An image whose region shows the filling, without an edge along the outline.

    Args:
        filling: (H, W, 3) uint8 RGB.
        image: (H, W, 3) uint8 RGB.
        region: (H, W) uint8, 1 inside the region and 0 outside; not empty.

    Returns:
        A new (H, W, 3) uint8 RGB image.
    """
    kinds = (cv2.BORDER_REFLECT, cv2.BORDER_REFLECT, cv2.BORDER_CONSTANT)
    padded = [
        cv2.copyMakeBorder(part, _FRAME, _FRAME, _FRAME, _FRAME, kind)
        for part, kind in zip((filling, image, region), kinds, strict=True)
    ]
    x, y, width, height = cv2.boundingRect(padded[2])
    center = (x + width // 2, y + height // 2)
    joined = cv2.seamlessClone(padded[0], padded[1], 255 * padded[2], center, cv2.NORMAL_CLONE)
    return np.ascontiguousarray(joined[_FRAME:-_FRAME, _FRAME:-_FRAME])
