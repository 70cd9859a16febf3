"""Appearance shifts: simulate how images of other hospitals differ, one property at a time.

The properties are colors, light, optics, compression and on-screen text. Every function is
deterministic. Training draws the arguments at random (`distill.data.appearance`), and
`edge.evaluation.shift_report` uses fixed ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import ImageU8

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.-"
SHADES = ((235, 235, 235), (235, 220, 60), (90, 230, 90))
"""RGB of text that processors write: white, yellow, green."""


class Spot(NamedTuple):
    """A highlight: an ellipse in pixels, rotated by an angle in degrees."""

    center: tuple[int, int]
    axes: tuple[int, int]
    angle: float


class TextLine(NamedTuple):
    """A line of text that a processor writes into the image.

    Attributes:
        letters: The text.
        place: x and y of its lower left corner, pixels.
        size: Size of the letters, as OpenCV's font scale.
        shade: RGB of the text.
        panel: RGB of a rectangle behind the text; None without one.
    """

    letters: str
    place: tuple[int, int]
    size: float
    shade: tuple[int, int, int]
    panel: tuple[int, int, int] | None = None


def transfer_colors(image: ImageU8, other: ImageU8, strength: float) -> ImageU8:
    """Transfer mean and standard deviation of each CIELAB channel from another image.

    Source: Reinhard et al., Color transfer between images, IEEE CG&A 2001, in CIELAB instead of
    l-alpha-beta.

    Args:
        image: (H, W, 3) uint8 RGB.
        other: (h, w, 3) uint8 RGB.
        strength: 0 leaves the image unchanged, 1 transfers the statistics completely.
    """
    lab, target = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) for picture in (image, other))
    (mean, spread), (aim, width) = (
        [m[:, 0] for m in cv2.meanStdDev(picture)] for picture in (lab, target)
    )
    # Limit the gain, so that an image with little contrast is not amplified into noise.
    gain = np.clip((width + 1) / (spread + 1), 0.5, 2.0)
    # One table per channel for moved = (lab - mean) gain + aim and lab + strength (moved - lab).
    levels = np.arange(256.0)[:, None]
    table = np.clip(levels + strength * ((levels - mean) * gain + aim - levels), 0, 255).astype(
        np.uint8
    )
    mixed = cv2.LUT(lab, table[None])
    return cast("ImageU8", cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB))


def expose(image: ImageU8, stops: float) -> ImageU8:
    """Change the exposure by a number of stops, clipped at white."""
    return _to_image(image * np.float32(2.0**stops))


def light(image: ImageU8, center: tuple[float, float], gain: float, fall: float) -> ImageU8:
    """Simulate light that falls off from a point, or overexposes the image around it.

    Args:
        image: (H, W, 3) uint8 RGB.
        center: y and x of the point, as shares of the image.
        gain: Gain at the point.
        fall: Falloff per squared distance, with the distance in shares of the image.
    """
    H, W = image.shape[:2]
    y, x = np.ogrid[:H, :W]
    distance = ((y / H - center[0]) ** 2 + (x / W - center[1]) ** 2).astype(np.float32)
    return _to_image(image * np.clip(gain * np.exp(-distance * fall), 0.25, 1.6)[..., None])


def add_highlights(image: ImageU8, spots: Sequence[Spot], sigma: float, opacity: float) -> ImageU8:
    """Add specular highlights of wet mucosa: small, bright spots with soft edges.

    Args:
        image: (H, W, 3) uint8 RGB.
        spots: The spots.
        sigma: Standard deviation of the edge blur, pixels.
        opacity: Opacity, 0 to 1.
    """
    bright = np.zeros(image.shape[:2], np.uint8)
    for spot in spots:
        cv2.ellipse(bright, spot.center, spot.axes, spot.angle, 0, 360, 255, -1)
    soft = cv2.GaussianBlur(bright, (0, 0), sigma).astype(np.float32)[..., None] / 255
    return _to_image(image + (255 - image) * soft * opacity)


def blur_motion(image: ImageU8, length: int, angle: float) -> ImageU8:
    """Simulate motion blur.

    Args:
        image: (H, W, 3) uint8 RGB.
        length: Length of the motion, pixels.
        angle: Direction of the motion, radians.
    """
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    begin, end = (tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, begin, end, 1.0)
    return cast("ImageU8", cv2.filter2D(image, -1, kernel / kernel.sum()))


def lose_resolution(image: ImageU8, share: float) -> ImageU8:
    """Simulate a lower resolution: reduce to a share of width and height, and enlarge again."""
    H, W = image.shape[:2]
    small = cv2.resize(
        image, (max(8, int(W * share)), max(8, int(H * share))), interpolation=cv2.INTER_AREA
    )
    return cast("ImageU8", cv2.resize(small, (W, H), interpolation=cv2.INTER_LINEAR))


def octagon(size: tuple[int, int], cut: float) -> ImageU8:
    """Make a field of view with cut corners.

    Args:
        size: Height and width.
        cut: Share of width and height that each corner cuts off.

    Returns:
        (H, W) uint8, 255 inside.
    """
    H, W = size
    view = np.zeros(size, np.uint8)
    x, y = cut * W, cut * H
    corners = [(x, 0), (W - x, 0), (W, y), (W, H - y), (W - x, H), (x, H), (0, H - y), (0, y)]
    return cast("ImageU8", cv2.fillPoly(view, [np.array(corners, np.int32)], (255,)))


def circle(size: tuple[int, int], center: tuple[int, int], radius: int) -> ImageU8:
    """Make a round field of view from center (x, y) and radius in pixels: (H, W), 255 inside."""
    return cast("ImageU8", cv2.circle(np.zeros(size, np.uint8), center, radius, (255,), -1))


def narrow(image: ImageU8, mask: ImageU8, view: ImageU8, level: int) -> tuple[ImageU8, ImageU8]:
    """Make an image black outside of a field of view, and clear its mask there.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8.
        view: (H, W) uint8, 0 outside, 255 inside.
        level: Gray level of that black.
    """
    narrowed = image.copy()
    narrowed[view == 0] = level
    return narrowed, cast("ImageU8", np.minimum(mask, view))


def write_text(image: ImageU8, lines: Sequence[TextLine]) -> ImageU8:
    """Write text lines into the image, as processors do."""
    written: ImageU8 = image.copy()
    for line in lines:
        x, y = line.place
        if line.panel is not None:
            tall = max(6, int(24 * line.size))
            width = int(tall * len(line.letters) * 0.7)
            written[max(0, y - tall) : y + 4, x : x + width] = line.panel
        cv2.putText(
            written,
            line.letters,
            (x, y),
            cv2.FONT_HERSHEY_SIMPLEX,
            line.size,
            line.shade,
            1,
            cv2.LINE_AA,
        )
    return written


def compress(image: ImageU8, quality: int) -> ImageU8:
    """Compress and decompress as JPEG of a quality from 1 to 100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    decoded = cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], options)[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return _to_image(decoded[..., ::-1])


def _to_image(values: NDArray[Any]) -> ImageU8:
    return np.ascontiguousarray(np.clip(values, 0, 255), dtype=np.uint8)
