"""Resize an image of any size to the engine's input: one rule, shared by training and device.

The rule `stretch-antialiased` has three steps. (1) If the image is at least four times the target
along both axes and its sides are multiples of 4, it is reduced to a quarter of its lines and a half
of its columns: each pixel is the mean of two columns in the first and third of four lines.
(2) While the image is at least twice the target, it is halved: each pixel is the mean of 2x2.
(3) One linear interpolation, which stretches each axis independently, gives the target size. If an
image after step 1 still has at least twice the target's columns, they are first averaged over 3
neighbors, or over 5 from five times the target on.

Skipping every second line reads half of the memory of a 1080p frame, and only one field of an
interlaced image. It costs vertical antialiasing: a pattern that alternates from line to line takes
the value of the first line instead of gray, and a highlight one line high may be lost. The mean of
the two lines is half a line above the middle of the four, an eighth of a pixel after reduction.
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

# From this ratio on, two taps would skip pixels; only very narrow images keep such a ratio after
# step 2.
_STRIP_RATIO = 4
# The same limit for columns that are averaged over 5 neighbors.
_BOX_RATIO = 8


def to_input(
    image: ImageU8, size: tuple[int, int], *, bgr: bool, out: ImageU8 | None = None
) -> ImageU8:
    """Resize an image to the engine's input, antialiased.

    Args:
        image: (H, W, 3) uint8, any size; rows may be strided.
        size: Height and width of the input.
        bgr: Whether the channels of `image` are in BGR order (cameras, `cv2`) instead of RGB.
        out: (h, w, 3) uint8, C-contiguous, for the result; must not share memory with `image`.

    Returns:
        (h, w, 3) uint8 RGB, C-contiguous, never a view of `image`; `out` if it is given.

    Raises:
        DataError: `image` is empty, is not uint8 or does not have three channels.
        UsageError: `size` is not positive, or `out` does not have that size.
    """
    check_image(image)
    height, width = size
    if out is None:
        out = np.empty((height, width, 3), np.uint8)
    elif out.shape != (height, width, 3) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise UsageError(
            "`out` has the wrong shape or type",
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
        image = _resize(image[::2], h, w, cv2.INTER_AREA, _thread_buffer("lines", (h, w, 3)))
    while h >= 2 * height and w >= 2 * width:
        # Sample an odd axis at its exact ratio: dropping a line would shift everything below it.
        exact = h % 2 == 0 and w % 2 == 0
        h, w = (h + 1) // 2, (w + 1) // 2
        image = _resize(image, h, w, cv2.INTER_AREA if exact else cv2.INTER_LINEAR)
    if quartered and 2 * width <= w < _BOX_RATIO * width:
        taps = 3 if w < 5 * width else 5
        image = cast(
            "ImageU8", cv2.blur(image, (taps, 1), dst=_thread_buffer("averaged", (h, w, 3)))
        )
        image = _resize(
            image, height, width, cv2.INTER_LINEAR, _thread_buffer("input", (height, width, 3))
        )
    elif (h, w) != (height, width):
        strip = h >= _STRIP_RATIO * height or w >= _STRIP_RATIO * width
        how = cv2.INTER_AREA if strip else cv2.INTER_LINEAR
        image = _resize(image, height, width, how, _thread_buffer("input", (height, width, 3)))
    if bgr:
        # Swap the channels after the reduction, where it takes a hundredth of a millisecond.
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=out)
    else:
        np.copyto(out, image)
    return out


def normalize(image: NDArray[Any]) -> NDArray[np.float32]:
    """Compute `(image - 127) / 128` as float32, as the engines do inside their graphs."""
    normalized: NDArray[np.float32] = (image.astype(np.float32) - np.float32(MEAN)) / np.float32(
        SCALE
    )
    return normalized


def check_image(image: ImageU8) -> None:
    """Refuse anything but a color image.

    Raises:
        DataError: `image` is empty, is not uint8 or does not have three channels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise DataError(
            "the image cannot be used",
            expected="(H, W, 3) uint8, not empty",
            got=f"{image.shape} {image.dtype}",
            hint="convert it to 8-bit color",
        )


def _thread_buffer(name: str, shape: tuple[int, int, int]) -> ImageU8:
    """Return this thread's buffer: allocating it for each frame costs a tenth of the resize."""
    buffer: ImageU8 | None = getattr(_places, name, None)
    if buffer is None or buffer.shape != shape:
        buffer = np.empty(shape, np.uint8)
        setattr(_places, name, buffer)
    return buffer


def _resize(
    image: ImageU8, height: int, width: int, interpolation: int, out: ImageU8 | None = None
) -> ImageU8:
    return cast("ImageU8", cv2.resize(image, (width, height), dst=out, interpolation=interpolation))
