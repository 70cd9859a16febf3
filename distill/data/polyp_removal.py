"""Clean frames from frames with a polyp: mucosa from elsewhere in the image covers the polyp.

Public data sets hold hardly any frames without a polyp, and a student that never saw one outlines
something in each. The covered region is blended by its gradients, so that it has no visible edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from distill.data.blending import blend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

_LARGEST = 0.3
"""Largest share of the image that is covered: more leaves nothing to cover it with."""
_TRIES = 16
_DARK, _DARK_SHARE = 36, 0.02
"""Gray level below which a pixel is lumen or border rather than mucosa, and its largest share."""


def remove_polyps(image: Image, mask: Image, rng: np.random.Generator) -> Image | None:
    """The image without its polyps.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, not zero inside polyps.
        rng: Chooses where the filling is taken from.

    Returns:
        A new image; None if the polyps are too large, or a few tries found no mucosa to cover them.
    """
    side = max(3, mask.shape[1] // 20)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * side + 1, 2 * side + 1))
    polyps = cv2.dilate((mask > 0).astype(np.uint8), kernel)
    if not polyps.any() or polyps.mean() > _LARGEST:
        return None
    dark = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) < _DARK).astype(np.uint8)
    for _ in range(_TRIES):
        move = _random_move(mask.shape, rng)
        if (_moved(polyps, move) & polyps).any() or _moved(dark, move)[
            polyps > 0
        ].mean() > _DARK_SHARE:
            continue
        return blend(_moved(image, move), image, polyps)
    return None


def _random_move(size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3) map of pixels: a mirror image or none, and a shift of up to half the picture."""
    H, W = size
    flip = rng.choice([-1.0, 1.0], 2)
    shift = rng.uniform(-0.5, 0.5, 2) * (W, H) + np.where(flip < 0, (W - 1, H - 1), 0)
    return np.column_stack([np.diag(flip), shift.round()])


def _moved(image: Image, move: NDArray[np.float64]) -> Image:
    size = (image.shape[1], image.shape[0])
    moved: Image = cv2.warpAffine(
        image, move, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    )
    return moved
