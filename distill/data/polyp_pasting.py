"""Frames with a polyp out of clean frames: the polyp of a labeled frame is pasted into the mucosa.

A student that meets one hospital's clean frames only without polyps may learn the hospital instead
of the polyp. A pasted polyp breaks that tie, and its mask is known exactly (copy-paste
augmentation: Ghiasi et al., CVPR 2021). The polyp is blended in by its gradients, so that it takes
on the light and the color of its new place and no edge tells it apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from distill.data.blending import EROSION, blend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

_MIN_AREA, _MAX_AREA = 0.004, 0.15
"""Range of a pasted polyp's share of the frame: smaller ones are useless, larger ones never fit."""
_ZOOM = (0.6, 1.6)
"""Smallest and largest factor of a polyp's size."""
_TRIES = 12
_DARK = 28
"""Gray level below which a pixel is lumen or border rather than mucosa."""
_DARK_SHARE = 0.05
"""Largest share of dark pixels under a pasted polyp."""
_EDGE = 2
"""Pixels that a polyp keeps from the edge of its own frame: one that touches it is cut off."""


class _Polyp(NamedTuple):
    """One polyp in its frame.

    Attributes:
        mask: (H, W) uint8, the coverage of this polyp alone.
        center: x and y in pixels.
        area: Share of the frame.
    """

    mask: Image
    center: NDArray[np.float64]
    area: float


def paste_polyp(
    clean: Image, source: Image, source_mask: Image, rng: np.random.Generator
) -> tuple[Image, Image] | None:
    """A clean frame with the polyp of another frame in it, turned, sized and placed at random.

    Args:
        clean: (H, W, 3) uint8 RGB without a polyp.
        source: (H, W, 3) uint8 RGB of the same size.
        source_mask: (H, W) uint8, share of each pixel that a polyp covers in 1/255.
        rng: Random numbers of this view.

    Returns:
        A new image and its mask; None if the source has no whole polyp of a usable size, or a few
        tries found no mucosa inside the field of view that holds it.
    """
    height, width = source_mask.shape
    # The outline of the polyp has to lie inside what blending keeps, or the polyp vanishes.
    rim = EROSION + max(3, width // 64)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    polyp = _choose_polyp(source, source_mask, kernel, rng)
    if polyp is None:
        return None
    gray = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)
    view = _field_of_view(gray)
    places = np.argwhere(view)
    if len(places) == 0:
        return None
    for _ in range(_TRIES):
        zoom = float(np.exp(rng.uniform(*np.log(_ZOOM))))
        angle, mirrored = rng.uniform(-np.pi, np.pi), rng.random() < 0.5
        place = places[rng.integers(len(places))][::-1]
        if not _MIN_AREA <= polyp.area * zoom**2 <= _MAX_AREA:
            continue
        move = _similarity(polyp.center, place, zoom, angle, mirrored=mirrored)
        mask: Image = cv2.warpAffine(polyp.mask, move, (width, height), flags=cv2.INTER_LINEAR)
        region = cv2.dilate((mask > 0).astype(np.uint8), kernel)
        inside = region > 0
        touches_edge = any(
            line.any() for line in (region[0], region[-1], region[:, 0], region[:, -1])
        )
        if touches_edge or not view[inside].all() or (gray[inside] < _DARK).mean() > _DARK_SHARE:
            continue
        filling: Image = cv2.warpAffine(
            source, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return blend(filling, clean, region), mask
    return None


def _choose_polyp(image: Image, mask: Image, rim: Image, rng: np.random.Generator) -> _Polyp | None:
    """Choose a polyp that can reach a usable size and that the view does not cut, rim included."""
    view = _field_of_view(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    count, labels, stats, centers = cv2.connectedComponentsWithStats((mask >= 128).astype(np.uint8))
    height, width = mask.shape
    candidates = []
    for number in range(1, count):
        x, y, w, h, pixels = (int(value) for value in stats[number])
        area = pixels / mask.size
        around = cv2.dilate((labels == number).astype(np.uint8), rim) > 0
        inside = min(x, y) >= _EDGE and x + w <= width - _EDGE and y + h <= height - _EDGE
        if (
            inside
            and view[around].all()
            and area * _ZOOM[1] ** 2 >= _MIN_AREA
            and area * _ZOOM[0] ** 2 <= _MAX_AREA
        ):
            candidates.append(number)
    if not candidates:
        return None
    number = candidates[int(rng.integers(len(candidates)))]
    near = cv2.dilate((labels == number).astype(np.uint8), np.ones((3, 3), np.uint8))
    area = float(stats[number, cv2.CC_STAT_AREA]) / mask.size
    return _Polyp(np.where(near > 0, mask, 0).astype(np.uint8), centers[number], area)


def _field_of_view(gray: Image) -> NDArray[np.bool_]:
    """(H, W) true inside the largest lit part of a frame; dark spots within it belong to it."""
    side = max(3, gray.shape[1] // 10) | 1
    lit = (cv2.GaussianBlur(gray, (5, 5), 0) > _DARK // 2).astype(np.uint8)
    lit = cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    lit = cv2.morphologyEx(
        lit, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8), borderType=cv2.BORDER_REFLECT
    )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit)
    if count < 2:
        return np.zeros(gray.shape, dtype=bool)
    largest: NDArray[np.bool_] = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return largest


def _similarity(
    center: NDArray[np.float64],
    place: NDArray[np.int64],
    zoom: float,
    angle: float,
    *,
    mirrored: bool,
) -> NDArray[np.float64]:
    """(2, 3) map of pixels that brings `center` to `place`, turned, zoomed and maybe mirrored."""
    cos, sin = np.cos(angle), np.sin(angle)
    flip = np.diag([-1.0 if mirrored else 1.0, 1.0])
    linear = zoom * np.array([[cos, -sin], [sin, cos]]) @ flip
    return np.column_stack([linear, place - linear @ center])
