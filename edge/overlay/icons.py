"""The signs of the overlay: one for each state, told apart by shape and word, not by colour; letters and corners.

Everything is drawn in whole, opaque pixels into a BGR or BGRA canvas, and each function says which
box it touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edge.status import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8, Result
    from edge.status import Status

# BGR and opacity.
DARK = (24, 16, 16, 255)
FOUND = (120, 255, 0, 255)
READY = (235, 235, 235, 255)
TROUBLE = (0, 190, 255, 255)

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
"""Polygons in a unit square: two bars lying, a diamond, a cross, two bars standing, a triangle up, one to the right."""


def sign(canvas: ImageU8, mark: tuple[State, str], at: tuple[int, int], unit: int) -> Box:
    """Draw the sign of a state and its word.

    Args:
        canvas: (H, W, 3 or 4) uint8.
        mark: As `mark_of` gives it.
        at: Its upper left corner.
        unit: Width of a line, pixels.
    """
    (x, y), side = at, 10 * unit
    state, word = mark
    if state is State.RUNNING:
        inset, colour = (0, FOUND) if word else (3 * unit, READY)
        low, high = (x + inset, y + inset), (x + side - inset - 1, y + side - inset - 1)
        cv2.rectangle(canvas, (low[0] - 1, low[1] - 1), (high[0] + 1, high[1] + 1), DARK, -1)
        cv2.rectangle(canvas, low, high, colour, -1)
        return x - 1, y - 1, side + 2, side + 2
    polygons = [
        np.array(
            [(x + round(px * (side - 1)), y + round(py * (side - 1))) for px, py in shape], np.int32
        )
        for shape in _SHAPES[state]
    ]
    cv2.polylines(canvas, polygons, True, DARK, 2 * unit + 1, cv2.LINE_8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [polygon], TROUBLE, cv2.LINE_8)
    room = canvas.shape[1] - x - side - 8 * unit
    where = (x + side + 2 * unit, y + side // 2)
    _, top, wide, tall = letters(
        canvas, word, where, max(9.0, 4.5 * unit), room, TROUBLE, middle=True
    )
    left, upper, _, height = around(np.concatenate(polygons), 2 * unit + 1)
    lower = max(upper + height, top + tall)
    upper = min(upper, top)
    return left, upper, x + side + 2 * unit + wide - left, lower - upper


def mark_of(result: Result, status: Status | None) -> tuple[State, str]:
    """Which sign a result and the device's status get, and its word.

    A RUNNING device is ready where the word is empty, and has found something where it is not.
    Without a status a result that has a reason counts as DEGRADED.
    """
    if status is None or status.state is State.RUNNING:
        if result.reason is None:
            return State.RUNNING, "found" if result.regions else ""
        return State.DEGRADED, result.reason.kind.value.upper()
    name = status.state.value.replace("-", " ")
    return status.state, (name if status.kind is None else f"{name}: {status.kind}").upper()


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
    colour: tuple[int, int, int, int],
    *,
    middle: bool = False,
) -> Box:
    """Draw letters with a dark rim; what lies off the canvas is cut.

    Args:
        canvas: (H, W, 3 or 4) uint8.
        text: ASCII.
        at: Left end of the lower edge, or of the middle line where `middle`.
        height: Of a capital letter, pixels.
        most: Widest that they may be, pixels; they shrink to fit.
        colour: BGR and opacity.
        middle: What `at` means.
    """
    patch, mask = _patch(text, height, most, colour, canvas.shape[2])
    x, y = max(at[0], 0), max(at[1] - mask.shape[0] // (2 if middle else 1), 0)
    window = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
    if window.size:
        cv2.copyTo(
            patch[: window.shape[0], : window.shape[1]],
            mask[: window.shape[0], : window.shape[1]],
            window,
        )
    return x, y, mask.shape[1], mask.shape[0]


def around(points: NDArray[np.int32], line: int) -> Box:
    """A box around a line of that width through points."""
    x, y, w, h = cv2.boundingRect(points)
    reach = line // 2 + 1
    return x - reach, y - reach, w + 2 * reach, h + 2 * reach


@lru_cache(maxsize=64)
def _patch(
    text: str, height: float, most: int, colour: tuple[int, int, int, int], channels: int
) -> tuple[ImageU8, ImageU8]:
    """Letters and their rim, and where either is: OpenCV's own are smoothed, which would blend with the picture."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, tall), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = min(height / tall, max(most, 8) / max(wide, 1))
    (wide, tall), below = cv2.getTextSize(text, font, scale, 1)
    grey = np.zeros((tall + below + 4, wide + 4), np.uint8)
    cv2.putText(grey, text, (2, tall + 2), font, scale, 255, 1, cv2.LINE_8)
    inner = grey > 96
    patch = np.empty((*grey.shape, channels), np.uint8)
    patch[:] = DARK[:channels]
    patch[inner] = colour[:channels]
    return patch, cast(
        "ImageU8", cv2.dilate(inner.astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    )
