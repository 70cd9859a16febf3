"""Structure in the values of a mask: areas of a second or faint class, told from noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import MaskBool

    Pixels = NDArray[Any]
    Codec = Literal["", "jpeg", "webp", "gray webp"]

SQUARE = np.ones((3, 3), np.uint8)
_FEW_AREAS = 12
"""Maximum number of areas of a faint class; noise causes more."""
_MOST_COVERED = 0.98
"""Maximum share of the image that a faint class covers; an offset of all values covers more."""
_DARK, _WHITE, _SPECK = 32, 200, 25
"""Values outside of every polyp and in the middle of each, and pixels of the smallest area."""
_REACH = 28
"""Distance in pixels from a polyp to which compression spreads traces of its outline.

Measured on masks of public data sets: JPEG of quality 30 to 95, enlarged twice and saved again.
"""
_TRACES: dict[Codec, tuple[tuple[int, int], ...]] = {
    "webp": ((0, 512), (1, 256), (2, 64), (4, 16)),
    "gray webp": ((0, 256), (1, 64), (2, 32), (4, 12)),
}
"""Value and pixels of the largest area over it that a lossy codec leaves at any distance.

WebP predicts blocks from their neighbors. Measured on the same masks from quality 60 on.
"""


def second_class(share: NDArray[np.uint8], counts: NDArray[Any]) -> int:
    """Return the value (17 to 223) of uniform areas between black and white; 0 without any.

    Args:
        share: (H, W) values in 1/255 of the mask's range.
        counts: (256,) their histogram.
    """
    if counts[17:224].sum() < 9:
        return 0
    x, y, width, height = cv2.boundingRect(cv2.inRange(share, 17, 223))
    part = np.ascontiguousarray(share[y : y + height, x : x + width])
    low = cv2.erode(part, SQUARE)
    # Neighboring pixels differ along a soft edge or its ringing, but hardly inside an area.
    flat = (cv2.dilate(part, SQUARE) - low < 8) & (low > 16) & (part < 224)
    if np.count_nonzero(flat) < 9:
        return 0
    areas = cv2.morphologyEx(flat.astype(np.uint8), cv2.MORPH_OPEN, SQUARE) > 0
    inside = part[areas]
    if len(inside) < 9:
        return 0
    middle = int(np.median(inside))
    near = np.abs(inside.astype(np.int16) - middle) <= 12
    return middle if np.mean(near) > 0.5 else 0


def gray_area(share: NDArray[np.uint8]) -> int:
    """Return the value of an area of its own that is nowhere white; 0 without any.

    Args:
        share: (H, W) values in 1/255 of the mask's range.
    """
    count, labels, sizes, _ = cv2.connectedComponentsWithStats((share > _DARK).astype(np.uint8))
    if count < 2:
        return 0
    nowhere_white = sizes[:, cv2.CC_STAT_AREA] >= _SPECK
    nowhere_white[np.unique(labels[share > _WHITE])] = False
    nowhere_white[0] = False
    areas = nowhere_white[labels]
    return int(np.median(share[areas])) if areas.any() else 0


def faint_class(strength: Pixels, polyp: MaskBool, codec: Codec) -> float:
    """Return the value of areas that are far from every polyp and not black; 0 without any.

    Compression leaves traces around the outline of a polyp, and an area elsewhere is a class of its
    own, however dark. Noise all over the image has no areas.

    Args:
        strength: (H, W) values of the mask.
        polyp: (H, W) what was read as polyp, with at least one pixel.
        codec: Lossy codec of the file; traces of other lossy codecs may be in any file.
    """
    if not strength[~polyp].any():
        return 0
    distance = cv2.distanceTransform((~polyp).astype(np.uint8), cv2.DIST_L2, 3)
    far = np.where(distance > _REACH, strength, 0)
    for most, largest in _TRACES.get(codec, ((0, 0),)):
        high = cv2.morphologyEx((far > most).astype(np.uint8), cv2.MORPH_OPEN, SQUARE)
        areas = cv2.connectedComponentsWithStats(high)[2][1:, cv2.CC_STAT_AREA]
        covers = areas.sum() > _MOST_COVERED * np.count_nonzero(distance > _REACH)
        if 1 <= len(areas) <= _FEW_AREAS and not covers and areas.max() > largest:
            return float(np.median(far[high > 0]))
    return 0


def has_structure(strength: Pixels) -> bool:
    """Whether faint values form a few areas, as classes do, instead of noise all over the image.

    Args:
        strength: (H, W) values of the mask.
    """
    smooth = cv2.blur(strength.astype(np.float32), (5, 5))
    low = float(smooth.min())
    # Compression overshoots at the outline, so the maximum may be far above the class itself.
    peaks = float(smooth.max()), float(np.median(smooth[strength > 0]))
    return any(_forms_areas(strength, smooth > (low + peak) / 2) for peak in peaks)


def _forms_areas(strength: Pixels, high: NDArray[np.bool_]) -> bool:
    """Whether the pixels `high` form a few areas with few holes."""
    count, _, sizes, _ = cv2.connectedComponentsWithStats(high.astype(np.uint8))
    if not 1 < count <= _FEW_AREAS + 1:
        return False
    if cv2.connectedComponents((~high).astype(np.uint8))[0] > _FEW_AREAS + 1:
        return False
    # Noise raises the whole image above 0; a class that is not surrounded by 0 must be larger than
    # a speck.
    largest = int(sizes[1:, cv2.CC_STAT_AREA].max())
    return not np.median(strength[~high]) or (count <= 4 and largest > 0.005 * strength.size)


def without_core(strength: Pixels, core: MaskBool) -> MaskBool:
    """Return the areas (H, W) over 0 that touch no pixel of `core`.

    Args:
        strength: (H, W) values of the mask.
        core: (H, W) what is polyp for certain.
    """
    _, labels = cv2.connectedComponents((strength > 0).astype(np.uint8))
    orphans: MaskBool = (labels > 0) & ~np.isin(labels, np.unique(labels[core]))
    return orphans


def histogram(share: NDArray[np.uint8]) -> NDArray[Any]:
    """Return how often each value occurs, (256,)."""
    counts: NDArray[Any] = cv2.calcHist([np.ascontiguousarray(share)], [0], None, [256], [0, 256])
    return counts.ravel().astype(np.int64)


def levels_of(strength: Pixels) -> NDArray[Any]:
    """Return the values that occur, in ascending order."""
    if strength.dtype == np.uint8:
        return np.flatnonzero(histogram(strength))
    return np.unique(strength)


def scaled(strength: Pixels, peak: float) -> NDArray[np.uint8]:
    """Return values in 1/255 of `peak`, at most 255."""
    share: NDArray[np.uint8] = np.minimum(
        strength.astype(np.float32) * (255 / peak) + 0.5, 255
    ).astype(np.uint8)
    return share
