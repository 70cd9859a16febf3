"""Icons, text and corners of the overlay; states differ by shape and word, not by color alone.

Everything is drawn in whole, opaque pixels on a BGR or BGRA canvas, and each function returns the
box that it touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.status import LIGHTS, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8, Result
    from edge.status import Status

# BGR and opacity.
DARK = (24, 16, 16, 255)
FOUND = (120, 255, 0, 255)
READY = (235, 235, 235, 255)

_SHAPES: dict[State, tuple[tuple[tuple[float, float], ...], ...]] = {
    State.BOOT: (((0, 0), (1, 0), (1, 0.25), (0, 0.25)), ((0, 0.75), (1, 0.75), (1, 1), (0, 1))),
    State.SELFTEST: (((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),),
    State.NO_SIGNAL: (
        ((0.2, 0), (1, 0.8), (0.8, 1), (0, 0.2)),
        ((0.8, 0), (1, 0.2), (0.2, 1), (0, 0.8)),
    ),
    State.PAUSED: (
        ((0.1, 0), (0.4, 0), (0.4, 1), (0.1, 1)),
        ((0.6, 0), (0.9, 0), (0.9, 1), (0.6, 1)),
    ),
    State.DEGRADED: (((0.5, 0), (1, 1), (0, 1)),),
    State.BYPASS: (((0, 0), (1, 0.5), (0, 1)),),
}
"""Polygons in a unit square.

In this order: two horizontal bars, a diamond, a cross, two vertical bars, a triangle pointing up
and one pointing right.
"""


def sign(
    canvas: ImageU8, mark: tuple[State, str], at: tuple[int, int], unit: int, height: float
) -> Box:
    """Draw the icon of a state and its word in the color of the state (`edge.status.LIGHTS`).

    Args:
        canvas: (H, W, 3 or 4) uint8.
        mark: State and word, from `mark_of`.
        at: Upper left corner of the icon.
        unit: Line width in pixels.
        height: Height of a capital letter in pixels.
    """
    (x, y), side = at, 10 * unit
    state, word = mark
    if state is State.RUNNING:
        inset, color = (0, FOUND) if word else (3 * unit, READY)
        low, high = (x + inset, y + inset), (x + side - inset - 1, y + side - inset - 1)
        cv2.rectangle(canvas, (low[0] - 1, low[1] - 1), (high[0] + 1, high[1] + 1), DARK, -1)
        cv2.rectangle(canvas, low, high, color, -1)
        return x - 1, y - 1, side + 2, side + 2
    polygons = [
        np.array(
            [(x + round(px * (side - 1)), y + round(py * (side - 1))) for px, py in shape], np.int32
        )
        for shape in _SHAPES[state]
    ]
    red, green, blue = LIGHTS[state].rgb
    color = (blue, green, red, 255)
    cv2.polylines(canvas, polygons, True, DARK, 2 * unit + 1, cv2.LINE_8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [polygon], color, cv2.LINE_8)
    room = canvas.shape[1] - x - side - 8 * unit
    where = (x + side + 2 * unit, y + side // 2)
    _, top, wide, tall = letters(canvas, word, where, height, room, color, middle=True)
    left, upper, _, reach = around(np.concatenate(polygons), 2 * unit + 1)
    lower = max(upper + reach, top + tall)
    upper = min(upper, top)
    return left, upper, x + side + 2 * unit + wide - left, lower - upper


def mark_of(result: Result, status: Status | None) -> tuple[State, str]:
    """Choose the icon for a result and the device's status, and its word.

    In RUNNING, an empty word means that nothing was found. The word of a frame that nobody judged
    begins with dashes and gives the reason. Without a status, such a result counts as DEGRADED.
    """
    reason = result.reason
    dashes = "" if reason is None else "-- "
    if status is None or status.state is State.RUNNING:
        if reason is None:
            return State.RUNNING, "found" if result.regions or result.boxes else ""
        return State.DEGRADED, dashes + reason.kind.value.upper()
    name = status.state.value.replace("-", " ")
    kind = status.kind
    if reason is not None and status.state is State.DEGRADED:
        kind = reason.kind  # the state may hold for an older reason
    return status.state, dashes + (name if kind is None else f"{name}: {kind}").upper()


def corners(canvas: ImageU8, view: Box, unit: int) -> list[Box]:
    """Draw the four corners of the field of view."""
    x, y, w, h = view
    arm, inset = 12 * unit, 2 * unit
    boxes = []
    for right in (False, True):
        for low in (False, True):
            px = x + w - 1 - inset if right else x + inset
            py = y + h - 1 - inset if low else y + inset
            ends = np.array(
                [[px + (-arm if right else arm), py], [px, py], [px, py + (-arm if low else arm)]],
                np.int32,
            )
            cv2.polylines(canvas, [ends], False, DARK, unit + 2, cv2.LINE_8)
            cv2.polylines(canvas, [ends], False, READY, unit, cv2.LINE_8)
            boxes.append(around(ends, unit + 2))
    return boxes


def letters(
    canvas: ImageU8,
    text: str,
    at: tuple[int, int],
    height: float,
    most: int,
    color: tuple[int, int, int, int],
    *,
    middle: bool = False,
) -> Box:
    """Draw text on a dark plate, clipped to the canvas.

    Args:
        canvas: (H, W, 3 or 4) uint8.
        text: ASCII text.
        at: Lower left corner of the plate, or the middle of its left edge if `middle`.
        height: Height of a capital letter in pixels.
        most: Maximum width of the plate in pixels; the text shrinks to fit.
        color: BGR and opacity.
        middle: Whether `at` is vertically centered.
    """
    plate = _plate(text, height, most, color, canvas.shape[2])
    tall, wide = plate.shape[:2]
    x, y = max(at[0], 0), max(at[1] - tall // (2 if middle else 1), 0)
    window = canvas[y : y + tall, x : x + wide]
    window[:] = plate[: window.shape[0], : window.shape[1]]
    return x, y, wide, tall


def around(points: NDArray[np.int32], line: int) -> Box:
    """Return the bounding box of a line of width `line` through points."""
    x, y, w, h = cv2.boundingRect(points)
    reach = line // 2 + 1
    return x - reach, y - reach, w + 2 * reach, h + 2 * reach


@lru_cache(maxsize=64)
def _plate(
    text: str, height: float, most: int, color: tuple[int, int, int, int], channels: int
) -> ImageU8:
    """Render text on its plate, without the smoothing of OpenCV's own text.

    Whole pixels alone keep the layer opaque or transparent, with nothing in between.
    """
    margin = max(2, round(0.3 * height))
    wide, tall = _ink(text, 1.0).shape[1], _ink("H", 1.0).shape[0]
    ink = _ink(text, min(height / tall, max(most - 2 * margin, 8) / max(wide, 1)))
    gray = cv2.copyMakeBorder(ink, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    plate = np.empty((*gray.shape, channels), np.uint8)
    plate[:] = DARK[:channels]
    plate[gray > 0] = color[:channels]
    return plate


def _ink(text: str, scale: float) -> ImageU8:
    """Render text without a margin, 255 on 0; at least one pixel."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    line = max(1, round(scale * 2))
    (wide, tall), below = cv2.getTextSize(text, font, scale, line)
    gray = np.zeros((2 * (tall + below) + 8, wide + 2 * line + 8), np.uint8)
    cv2.putText(gray, text, (line, tall + below), font, scale, 255, line, cv2.LINE_8)
    ink = (gray > 96).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(ink)
    return ink[y : max(y + height, y + 1), x : max(x + width, x + 1)]
