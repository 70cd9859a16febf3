"""From a picture of any size to the engine's input: one rule, shared by training and device.

The rule `stretch-antialiased`: a picture of at least four times the target along both axes, whose
sides are multiples of 4, is first brought to a quarter of its lines and half of its columns, each
pixel the mean of two columns in the first and third of four lines. While the picture is at least
twice the target it is halved, each pixel the mean of 2x2. One linear step, which stretches each
axis on its own, does the rest; where a quartered picture still has twice the columns or more, they
are averaged over 3 neighbours before, over 5 from five times on.

To leave out every second line reads half of the memory of a 1080p frame, and of an interlaced
picture one field. It costs antialiasing down the picture: what alternates from line to line becomes
that of the first line, not grey, and a highlight of one line may be lost. The mean of the two lines
lies half a line above the middle of the four, an eighth of a pixel of the quarter.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import ImageU8

MEAN = 127.0
SCALE = 128.0

_places = threading.local()

# From here on two taps would skip pixels: only a strip-shaped picture keeps such a ratio after the
# halvings.
_STRIP_RATIO = 4
# Likewise of columns that are averaged over 5.
_BOX_RATIO = 8


def to_input(
    image: ImageU8, size: tuple[int, int], *, bgr: bool, out: ImageU8 | None = None
) -> ImageU8:
    """Resize a picture to the engine's input, antialiased.

    Args:
        image: (H, W, 3) uint8, any size; rows may be strided.
        size: Height and width of the input.
        bgr: Whether the channels of `image` are in BGR order (cameras, `cv2`), else RGB.
        out: (h, w, 3) uint8, C-contiguous, to write the result into; shares no memory with `image`.

    Returns:
        (h, w, 3) uint8 RGB, C-contiguous, never a view of `image`; `out` where it is given.

    Raises:
        DataError: `image` is empty, not uint8 or has not three channels.
        UsageError: `size` is not positive, or `out` is not of that size.
    """
    check_image(image)
    height, width = size
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    elif out.shape != (height, width, 3) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise UsageError(
            "the result does not fit its place",
            expected=f"({height}, {width}, 3) uint8, C-contiguous",
            got=f"{out.shape} {out.dtype}",
        )
    if height < 1 or width < 1:
        raise UsageError(
            "the input size is not usable", expected="height and width >= 1", got=f"{size}"
        )
    h, w = image.shape[:2]
    quartered = h >= 4 * height and w >= 4 * width and h % 4 == 0 and w % 4 == 0
    if quartered:
        h, w = h // 4, w // 2
        image = _resize(image[::2], h, w, cv2.INTER_AREA, _kept("lines", (h, w, 3)))
    while h >= 2 * height and w >= 2 * width:
        # An odd axis is sampled at its true ratio: cutting off a line would shift what lies below
        # it.
        exact = h % 2 == 0 and w % 2 == 0
        h, w = (h + 1) // 2, (w + 1) // 2
        image = _resize(image, h, w, cv2.INTER_AREA if exact else cv2.INTER_LINEAR)
    if quartered and 2 * width <= w < _BOX_RATIO * width:
        taps = 3 if w < 5 * width else 5
        image = cast("ImageU8", cv2.blur(image, (taps, 1), dst=_kept("averaged", (h, w, 3))))
        image = _resize(image, height, width, cv2.INTER_LINEAR, _kept("input", (height, width, 3)))
    elif (h, w) != (height, width):
        strip = h >= _STRIP_RATIO * height or w >= _STRIP_RATIO * width
        how = cv2.INTER_AREA if strip else cv2.INTER_LINEAR
        image = _resize(image, height, width, how, _kept("input", (height, width, 3)))
    if bgr:
        # The channels change places on the small picture, where it costs a hundredth of a
        # millisecond.
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=out)
    else:
        np.copyto(out, image)
    return out


def normalise(image: NDArray[Any]) -> NDArray[np.float32]:
    """`(image - 127) / 128` as float32, as the engines' graphs do it: for training and parity checks."""
    normalised: NDArray[np.float32] = (image.astype(np.float32) - np.float32(MEAN)) / np.float32(
        SCALE
    )
    return normalised


def check_image(image: ImageU8) -> None:
    """Refuse what is not a colour picture.

    Raises:
        DataError: `image` is empty, not uint8 or has not three channels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise DataError(
            "the picture cannot be used",
            expected="(H, W, 3) uint8, not empty",
            got=f"{image.shape} {image.dtype}",
            hint="convert it to 8-bit colour",
        )


def _kept(name: str, shape: tuple[int, int, int]) -> ImageU8:
    """A place to write to, of this thread: new memory at each frame costs as much as a tenth of the resize."""
    found: ImageU8 | None = getattr(_places, name, None)
    if found is None or found.shape != shape:
        found = np.empty(shape, np.uint8)
        setattr(_places, name, found)
    return found


def _resize(
    image: ImageU8, height: int, width: int, interpolation: int, out: ImageU8 | None = None
) -> ImageU8:
    return cast("ImageU8", cv2.resize(image, (width, height), dst=out, interpolation=interpolation))
