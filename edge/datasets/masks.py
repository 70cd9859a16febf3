"""Read a mask by its own range and structure, or refuse it with its name.

Black is background and every other class is polyp, whatever the classes' numbers or colors, the
depth of the pixels or the channel of the mask. A file whose classes are ambiguous is refused: a
polyp that is read as background would train and measure the opposite of the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import cv2
import numpy as np

from edge.datasets.image_files import decode, has_pages, palette_indices, read_bytes
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import MaskBool

    Pixels = NDArray[Any]

_EXPECTED = "a gray picture that is black (0) outside and white (255) inside the polyp"
_NOISE = 48
"""Maximum value in a lossy file of an empty mask."""
_TRACES = 8
"""Maximum peak at which scattered pixels of a lossless file are refused."""
_FEW_LEVELS = 16
"""Maximum levels of a file with class numbers; soft edges or lossy compression cause more."""
_FEW_AREAS = 12
"""Maximum number of areas of a faint class; noise causes more."""
_SQUARE = np.ones((3, 3), np.uint8)
_BORDER_COVERED, _AREA_COVERED = 0.9, 0.5


def read_mask(path: Path) -> MaskBool:
    """Read a mask as (H, W) bool, as stored: an EXIF orientation is ignored.

    Soft edges and the noise of lossy compression are accepted; the threshold is half of the file's
    own range.

    Raises:
        DataError: The file cannot be read or is not clearly a mask.
    """
    return decode_mask(path, read_bytes(path))


def decode_mask(path: Path, data: bytes) -> MaskBool:
    """Decode a mask as `read_mask` does, from the content of its file.

    Raises:
        DataError: The content is not an image or is not clearly a mask.
    """
    pixels = decode(path, data, cv2.IMREAD_UNCHANGED)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        _refuse(path, "values that are not finite", "export the mask as an 8-bit PNG")
    if pixels.min() < 0:
        _refuse(path, f"values down to {pixels.min()}", "export the mask as an 8-bit PNG")
    lossy = _is_lossy(data)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        inside = _with_alpha(path, pixels[..., :-1], pixels[..., -1], lossy)
    else:
        inside = _by_color(path, pixels, lossy)
    if not inside.any() and _hides_classes(path, data):
        _refuse(path, "a palette that paints all of its classes black", "save it without a palette")
    if not inside.any() and has_pages(data):
        _refuse(path, "several pages, of which the first is black", "save the mask alone")
    return inside


def looks_inverted(mask: Pixels) -> bool:
    """Whether a mask covers its border on all four sides and most of the image, as if inverted.

    Args:
        mask: (H, W) bool, or uint8 coverage in 1/255.
    """
    limit = 0 if mask.dtype == np.bool_ else 127
    sides = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    if any(np.mean(side > limit) < _BORDER_COVERED for side in sides):
        return False
    return bool(np.mean(mask > limit) > _AREA_COVERED)


def inversion_note(names: list[str], areas: Iterable[float], total: int) -> str:
    """Write the note about masks for which `looks_inverted` is true.

    Args:
        names: Names of these masks.
        areas: Share of the image that each of them covers.
        total: Number of checked masks with a polyp.
    """
    return (
        f"the polyps cover {100 * float(np.mean(list(areas))):.0f} % of the picture and touch all "
        f"four edges in {len(names)} of {total} frames with a polyp: are black and white swapped? "
        f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
    )


def _with_alpha(path: Path, colors: Pixels, alpha: Pixels, lossy: bool) -> MaskBool:
    """Read the mask from the channel that varies; refuse it if color and alpha disagree."""
    flat = _is_uniform(colors)
    if alpha.min() == alpha.max():
        if alpha.max() > 0:
            return _by_color(path, colors, lossy)
        if flat:
            return np.zeros(alpha.shape, dtype=bool)
        _refuse(path, "a picture that is transparent everywhere", "remove its alpha channel")
    opaque = _by_color(path, np.ascontiguousarray(alpha), lossy)
    visible = alpha > 0
    painted = _strength(colors)[visible].min() > 0
    if flat or (painted and _is_uniform(colors[~visible])):
        return opaque
    drawn = _by_color(path, colors, lossy)
    if (drawn & ~visible).any():
        _refuse(
            path,
            "colors and a transparency that show two different masks",
            "keep one of them: remove the alpha channel, or paint the polyp white on black",
        )
    return drawn


def _by_color(path: Path, colors: Pixels, lossy: bool) -> MaskBool:
    strength = _strength(colors)
    peak = strength.max()
    if peak == 0:
        return np.zeros(strength.shape, dtype=bool)
    if 4 * float(strength.min()) > peak:
        return _without_black(path, colors, strength, lossy)
    if lossy and peak <= _NOISE:
        if _has_structure(strength):
            _refuse(
                path,
                f"no pixel over {peak}, as if it held class numbers or colors, "
                "which lossy compression blurs",
                "export it as PNG; multiply class 1 to 255, or paint the polyp white",
            )
        return np.zeros(strength.shape, dtype=bool)
    levels = _levels(strength)
    if len(levels) <= _FEW_LEVELS and not lossy:
        return _by_levels(path, strength, levels)
    return _by_half(path, strength, lossy)


def _strength(colors: Pixels) -> Pixels:
    """Return the strongest channel of each pixel, (H, W); a gray value would make blue black."""
    if colors.ndim == 2:
        return colors
    strongest = colors[..., 0]
    for channel in range(1, colors.shape[2]):
        strongest = np.maximum(strongest, colors[..., channel])
    return strongest


def _without_black(path: Path, colors: Pixels, strength: Pixels, lossy: bool) -> MaskBool:
    """Read a mask without black: polyp everywhere if it is white; two colors are ambiguous."""
    peak = strength.max()
    if lossy and peak <= _TRACES:
        return np.zeros(strength.shape, dtype=bool)
    flat = colors.reshape(-1, colors.shape[2] if colors.ndim == 3 else 1)
    spread = flat.max(axis=0).astype(np.float64) - flat.min(axis=0)
    white = peak == np.iinfo(strength.dtype).max if strength.dtype.kind == "u" else peak == 1
    if spread.max() > (_NOISE if lossy else 0) or not (white or (lossy and peak > 255 - _NOISE)):
        _refuse(
            path,
            f"no black pixel: values from {strength.min()} to {peak}",
            "check that images/ and masks/ are not swapped, or paint the background black",
        )
    return np.ones(strength.shape, dtype=bool)


def _by_levels(path: Path, strength: Pixels, levels: NDArray[Any]) -> MaskBool:
    """Read a lossless file of few levels: levels that fill areas are classes, others soft edges."""
    peak = levels[-1]
    if len(levels) == 2 and peak > _TRACES:
        inside: MaskBool = strength > 0
        return inside
    low = strength.astype(np.float32)
    level = cv2.erode(low, _SQUARE)
    filled = level == cv2.dilate(low, _SQUARE)
    classes = np.unique(level[filled & (low > 0)])
    if peak <= _TRACES and np.count_nonzero(filled & (low > 0)) < 0.1 * np.count_nonzero(low):
        _refuse(
            path,
            f"no pixel over {peak}, and those over 0 scattered, as noise is",
            "paint the polyp white, or all black where there is none",
        )
    faint = classes[classes * 16 <= peak]
    if len(faint) and len(levels) <= 4:
        _refuse(
            path,
            f"areas of {faint[0]:g} beside {peak:g}",
            "paint what is polyp white and what is not black",
        )
    polyp: MaskBool = np.isin(low, classes[classes * 16 > peak]) | (2 * low > peak)
    return polyp


def _by_half(path: Path, strength: Pixels, lossy: bool) -> MaskBool:
    """Read a file with soft edges or noise: pixels above half of the range are polyp."""
    peak = float(strength.max())
    if lossy and peak < 240:  # Compression overshoots at the outline.
        peak = float(np.median(strength[2 * strength.astype(np.float32) > peak]))
    share = strength if strength.dtype == np.uint8 and peak > 240 else _scaled(strength, peak)
    counts = _histogram(share)
    between, white = int(counts[65:192].sum()), int(counts[192:].sum())
    # A soft edge is a small part of the image; most pixels of a photograph are in between.
    if between > 0.1 * share.size or (between > 0.02 * share.size and between > white):
        _refuse(
            path,
            f"{100 * between / share.size:.0f} % of its pixels between black and white",
            "check that images/ and masks/ are not swapped",
        )
    if lossy and peak <= 127 and not _has_structure(strength):
        _refuse(path, f"no pixel over {peak:g}", "paint the polyp white")
    second = _second_class(share, counts)
    if second:
        _refuse(
            path,
            f"areas of about {second * peak / 255:.0f} beside {peak:g}, as of a second class",
            "export it as PNG without smoothing, or paint every polyp white",
        )
    return share > 127


def _second_class(share: NDArray[np.uint8], counts: NDArray[Any]) -> int:
    """Return the value (17 to 223) of uniform areas between black and white; 0 without any."""
    if counts[17:224].sum() < 9:
        return 0
    x, y, width, height = cv2.boundingRect(cv2.inRange(share, 17, 223))
    part = np.ascontiguousarray(share[y : y + height, x : x + width])
    low = cv2.erode(part, _SQUARE)
    # Neighboring pixels differ along a soft edge or its ringing, but hardly inside an area.
    flat = (cv2.dilate(part, _SQUARE) - low < 8) & (low > 16) & (part < 224)
    if np.count_nonzero(flat) < 9:
        return 0
    areas = cv2.morphologyEx(flat.astype(np.uint8), cv2.MORPH_OPEN, _SQUARE) > 0
    inside = part[areas]
    if len(inside) < 9:
        return 0
    middle = int(np.median(inside))
    near = np.abs(inside.astype(np.int16) - middle) <= 12
    return middle if np.mean(near) > 0.5 else 0


def _has_structure(strength: Pixels) -> bool:
    """Whether faint values form a few areas, as classes do, instead of noise all over the image."""
    x, y, width, height = cv2.boundingRect((strength > 0).astype(np.uint8))
    if x % 8 == y % 8 == 0 and (width, height) in ((8, 8), (16, 16)):
        return False  # a codec may raise a whole block above 0
    smooth = cv2.blur(strength.astype(np.float32), (5, 5))
    low = float(smooth.min())
    # Compression overshoots at the outline, so the maximum may be far above the class itself.
    peaks = float(smooth.max()), float(np.median(smooth[strength > 0]))
    return any(_forms_areas(strength, smooth > (low + peak) / 2) for peak in peaks)


def _forms_areas(strength: Pixels, high: NDArray[np.bool_]) -> bool:
    """Whether the pixels `high` form a few areas with few holes."""
    count, _, sizes, _ = cv2.connectedComponentsWithStats(high.astype(np.uint8))
    if not 1 < count <= _FEW_AREAS + 1 or np.mean(high) > 0.85:
        return False
    if cv2.connectedComponents((~high).astype(np.uint8))[0] > _FEW_AREAS + 1:
        return False
    # Noise raises the whole image above 0; a class that is not surrounded by 0 must be larger than
    # a speck.
    largest = int(sizes[1:, cv2.CC_STAT_AREA].max())
    return not np.median(strength[~high]) or (count <= 4 and largest > 0.005 * strength.size)


def _histogram(share: NDArray[np.uint8]) -> NDArray[Any]:
    counts: NDArray[Any] = cv2.calcHist([np.ascontiguousarray(share)], [0], None, [256], [0, 256])
    return counts.ravel().astype(np.int64)


def _levels(strength: Pixels) -> NDArray[Any]:
    """Return the values that occur, in ascending order."""
    if strength.dtype == np.uint8:
        return np.flatnonzero(_histogram(strength))
    return np.unique(strength)


def _scaled(strength: Pixels, peak: float) -> NDArray[np.uint8]:
    share: NDArray[np.uint8] = np.minimum(
        strength.astype(np.float32) * (255 / peak) + 0.5, 255
    ).astype(np.uint8)
    return share


def _is_uniform(colors: Pixels) -> bool:
    flat = colors.reshape(-1, colors.shape[-1]) if colors.ndim > 1 else colors
    return bool((flat == flat[:1]).all())


def _is_lossy(data: bytes) -> bool:
    """Whether a file is JPEG or lossy WebP, judged by its content."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(b"\xff\xd8\xff") or (webp and b"VP8 " in data[12:4096])


def _hides_classes(path: Path, data: bytes) -> bool:
    """Whether a file with a palette uses several entries, all of which it paints black."""
    indices = palette_indices(path, data)
    return indices is not None and bool(indices.max() > 0)


def _refuse(path: Path, got: str, hint: str) -> NoReturn:
    raise DataError(f"{path} is not a mask", expected=_EXPECTED, got=got, hint=hint)
