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
from edge.datasets.mask_structure import (
    SQUARE,
    faint_class,
    gray_area,
    has_structure,
    histogram,
    levels_of,
    scaled,
    second_class,
    without_core,
)
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.datasets.mask_structure import Codec
    from edge.frame import MaskBool

    Pixels = NDArray[Any]

_EXPECTED = "a gray picture that is black (0) outside and white (255) inside the polyp"
_NOISE = 48
"""Maximum value in a lossy file of an empty mask."""
_GRAY = 2
"""Maximum difference between the channels of a gray picture in a lossy file."""
_TRACES = 8
"""Maximum peak at which scattered pixels of a lossless file are refused."""
_FEW_LEVELS = 16
"""Maximum levels of a file with class numbers; soft edges or lossy compression cause more."""
_BORDER_COVERED = 0.5
"""Share of the image's border that only a background covers; polyps in public sets cover 0.33."""


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
    codec = _lossy_codec(data, pixels)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        inside = _with_alpha(path, pixels[..., :-1], pixels[..., -1], codec)
    else:
        inside = _by_color(path, pixels, codec)
        _check_palette(path, data, _strength(pixels), inside)
    if not inside.any() and has_pages(data):
        _refuse(path, "several pages, of which the first is black", "save the mask alone")
    return inside


def looks_inverted(mask: Pixels) -> bool:
    """Whether a mask touches all four edges and covers most of the border, as if inverted.

    Args:
        mask: (H, W) bool, or uint8 coverage in 1/255.
    """
    limit = 0 if mask.dtype == np.bool_ else 127
    sides = [side > limit for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])]
    covered = float(np.mean(np.concatenate(sides)))
    return covered > _BORDER_COVERED and all(bool(side.any()) for side in sides)


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


def _with_alpha(path: Path, colors: Pixels, alpha: Pixels, codec: Codec) -> MaskBool:
    """Read the mask from the channel that varies; refuse it if color and alpha disagree."""
    flat = _is_uniform(colors)
    if alpha.min() == alpha.max():
        if alpha.max() > 0:
            return _by_color(path, colors, codec)
        if flat:
            return np.zeros(alpha.shape, dtype=bool)
        _refuse(path, "a picture that is transparent everywhere", "remove its alpha channel")
    opaque = _by_color(path, np.ascontiguousarray(alpha), codec)
    visible = alpha > 0
    painted = _strength(colors)[visible].min() > 0
    if flat or (painted and _is_uniform(colors[~visible])):
        return opaque
    mask = _by_color(path, colors, codec)
    if (mask & ~visible).any() or not (painted or visible.all()):
        _refuse(
            path,
            "colors and a transparency that show two different masks",
            "keep one of them: remove the alpha channel, or paint the polyp white on black",
        )
    return mask


def _by_color(path: Path, colors: Pixels, codec: Codec) -> MaskBool:
    strength = _strength(colors)
    peak = strength.max()
    if peak == 0:
        return np.zeros(strength.shape, dtype=bool)
    if 4 * float(strength.min()) > peak:
        return _without_black(path, colors, strength, codec)
    if codec and peak <= _NOISE:
        if has_structure(strength - strength.min()):
            _refuse(
                path,
                f"no pixel over {peak}, as if it held class numbers or colors, "
                "which lossy compression blurs",
                "export it as PNG; multiply class 1 to 255, or paint the polyp white",
            )
        return np.zeros(strength.shape, dtype=bool)
    levels = levels_of(strength)
    if len(levels) <= _FEW_LEVELS and not codec:
        return _by_levels(path, strength, levels)
    return _by_half(path, strength, codec)


def _strength(colors: Pixels) -> Pixels:
    """Return the strongest channel of each pixel, (H, W); a gray value would make blue black."""
    if colors.ndim == 2:
        return colors
    strongest = colors[..., 0]
    for channel in range(1, colors.shape[2]):
        strongest = np.maximum(strongest, colors[..., channel])
    return strongest


def _without_black(path: Path, colors: Pixels, strength: Pixels, codec: Codec) -> MaskBool:
    """Read a mask without black: polyp everywhere if it is white; two colors are ambiguous."""
    peak = strength.max()
    if codec and peak <= _TRACES:
        low = strength.min()
        if codec == "jpeg" and peak > low and has_structure(strength - low):
            _refuse(path, f"areas of {low} and {peak}, none black", "export it as PNG")
        return np.zeros(strength.shape, dtype=bool)
    flat = colors.reshape(-1, colors.shape[2] if colors.ndim == 3 else 1)
    spread = flat.max(axis=0).astype(np.float64) - flat.min(axis=0)
    white = peak == np.iinfo(strength.dtype).max if strength.dtype.kind == "u" else peak == 1
    if spread.max() > (_NOISE if codec else 0) or not (white or (codec and peak > 255 - _NOISE)):
        _refuse(
            path,
            f"no black pixel: values from {strength.min()} to {peak}",
            "check that images/ and masks/ are not swapped, or paint the background black",
        )
    return np.ones(strength.shape, dtype=bool)


def _by_levels(path: Path, strength: Pixels, levels: NDArray[Any]) -> MaskBool:
    """Read a lossless file of few levels: levels that fill areas are classes, others soft edges."""
    peak = levels[-1]
    if levels[0] > 0:
        _refuse(
            path,
            f"no black pixel: values from {levels[0]:g} to {peak:g}",
            "paint the background black",
        )
    if len(levels) == 2 and peak > _TRACES:
        inside: MaskBool = strength > 0
        return inside
    low = strength.astype(np.float32)
    level = cv2.erode(low, SQUARE)
    filled = level == cv2.dilate(low, SQUARE)
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
    # Thin parts of a class fill no area; a soft edge always borders on what it softens.
    polyp |= without_core(strength, polyp) & (16 * low > peak)
    _refuse_faint(path, strength, polyp, "")
    return polyp


def _by_half(path: Path, strength: Pixels, codec: Codec) -> MaskBool:
    """Read a file with soft edges or noise: pixels above half of the range are polyp."""
    peak = float(strength.max())
    if codec and peak < 240:  # Compression overshoots at the outline.
        peak = float(np.median(strength[2 * strength.astype(np.float32) > peak]))
    share = strength if strength.dtype == np.uint8 and peak > 240 else scaled(strength, peak)
    counts = histogram(share)
    between, white = int(counts[65:192].sum()), int(counts[192:].sum())
    # A soft edge is a small part of the image; most pixels of a photograph are in between.
    if between > 0.1 * share.size or (between > 0.02 * share.size and between > white):
        _refuse(
            path,
            f"{100 * between / share.size:.0f} % of its pixels between black and white",
            "check that images/ and masks/ are not swapped",
        )
    if codec and peak <= 127 and not has_structure(strength):
        _refuse(path, f"no pixel over {peak:g}", "paint the polyp white")
    second = second_class(share, counts) or gray_area(share)
    if second:
        _refuse(
            path,
            f"areas of about {second * peak / 255:.0f} beside {peak:g}, as of a second class",
            "export it as PNG without smoothing, or paint every polyp white",
        )
    _refuse_faint(path, strength, share > 127, codec)
    return share > 127


def _refuse_faint(path: Path, strength: Pixels, polyp: MaskBool, codec: Codec) -> None:
    """Refuse a mask with areas that are neither polyp nor black."""
    value = faint_class(strength, polyp, codec)
    if value:
        _refuse(
            path,
            f"areas of about {value:g} far from those of {strength.max():g}, as of a second class",
            "export it as PNG and paint what is polyp white and what is not black",
        )


def _is_uniform(colors: Pixels) -> bool:
    flat = colors.reshape(-1, colors.shape[-1]) if colors.ndim > 1 else colors
    return bool((flat == flat[:1]).all())


def _lossy_codec(data: bytes, pixels: Pixels) -> Codec:
    """Return the lossy codec of a file, judged by its content."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not webp or b"VP8 " not in data[12:4096]:
        return ""
    colors = pixels[..., :3]
    gray = int((colors.max(axis=-1) - colors.min(axis=-1)).max()) <= _GRAY
    return "gray webp" if gray else "webp"


def _check_palette(path: Path, data: bytes, strength: Pixels, inside: MaskBool) -> None:
    """Refuse a palette whose colors hide classes, or contradict the order of its entries."""
    entries = palette_indices(path, data)
    if entries is None:
        return
    black = np.unique(entries[strength == 0])
    if len(black) > 1 or (len(black) == 1 and not inside.any() and black[0] > 0):
        _refuse(path, "a palette that paints several classes black", "save it without a palette")
    first = strength[entries == 0]
    if len(first) and first.min() > 0 and looks_inverted(inside):
        _refuse(
            path,
            "a palette whose first entry, the background, is not black",
            "save it without a palette, black outside and white inside the polyp",
        )


def _refuse(path: Path, got: str, hint: str) -> NoReturn:
    raise DataError(f"{path} is not a mask", expected=_EXPECTED, got=got, hint=hint)
