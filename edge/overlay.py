"""What is drawn over a frame: outline of each region, status glyph, field-of-view corners and the notice.

Every pixel that is drawn is opaque, and every other pixel is left as it was (21 CFR 876.1520 asks for the pixel
level degradation of the picture, which is none). The same drawing fills a picture or a transparent layer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from edge.types import ImageU8, MaskBool, Result

NOTICE = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE"

# BGR and opacity.
_DARK = (24, 16, 16, 255)
_FOUND = (120, 255, 0, 255)
_READY = (235, 235, 235, 255)
_TROUBLE = (0, 190, 255, 255)


def kind_of(reason: str) -> str:
    """The kind of a reason: what stands before its first colon."""
    return reason.partition(":")[0].strip()


def overlay(
    image: ImageU8, result: Result, *, field_of_view: tuple[int, int, int, int] | None = None
) -> ImageU8:
    """A copy of a frame with everything drawn on it.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: What was found; with a reason, no outline is drawn and the glyph names the reason's kind.
        field_of_view: x, y, width, height that the corners mark; the whole frame by default.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    return paint(image.copy(), result, field_of_view=field_of_view)


def layer(
    size: tuple[int, int], result: Result, *, field_of_view: tuple[int, int, int, int] | None = None
) -> ImageU8:
    """The drawing alone: (H, W, 4) uint8 BGRA, transparent where nothing is drawn.

    Args:
        size: Height and width of the frame.
        result: As for `overlay`.
        field_of_view: As for `overlay`.
    """
    return paint(np.zeros((*size, 4), np.uint8), result, field_of_view=field_of_view)


def paint(
    canvas: ImageU8, result: Result, *, field_of_view: tuple[int, int, int, int] | None = None
) -> ImageU8:
    """Draw on a canvas in place, BGR or BGRA, and return it."""
    height, width = canvas.shape[:2]
    x, y, w, h = field_of_view or (0, 0, width, height)
    unit = max(1, round(min(w, h) / 240))
    if result.reason is None:
        outlines = [np.array(region.contour, np.int32) for region in result.regions if region.contour]
        cv2.polylines(canvas, outlines, True, _DARK, 2 * unit + 1, cv2.LINE_8)
        cv2.polylines(canvas, outlines, True, _FOUND, unit, cv2.LINE_8)
    _corners(canvas, (x, y, w, h), unit)
    _glyph(canvas, result, (x + 6 * unit, y + 6 * unit), unit)
    notice = _text(NOTICE, max(9.0, 4.0 * unit), w - 12 * unit)
    _stamp(canvas, notice, (x + 6 * unit, y + h - 6 * unit - notice.shape[0]), _READY)
    return canvas


def _corners(canvas: ImageU8, view: tuple[int, int, int, int], unit: int) -> None:
    x, y, w, h = view
    arm, inset = 12 * unit, 2 * unit
    for right in (False, True):
        for low in (False, True):
            px = x + w - 1 - inset if right else x + inset
            py = y + h - 1 - inset if low else y + inset
            ends = np.array(
                [[px + (-arm if right else arm), py], [px, py], [px, py + (-arm if low else arm)]], np.int32
            )
            cv2.polylines(canvas, [ends], False, _DARK, unit + 2, cv2.LINE_8)
            cv2.polylines(canvas, [ends], False, _READY, unit, cv2.LINE_8)


def _glyph(canvas: ImageU8, result: Result, at: tuple[int, int], unit: int) -> None:
    """Ready: a small square. Found: a large one. Trouble: a triangle and the kind of the reason."""
    x, y = at
    side = 10 * unit
    if result.reason is None:
        inset = 0 if result.regions else 3 * unit
        colour = _FOUND if result.regions else _READY
        cv2.rectangle(canvas, (x + inset - 1, y + inset - 1), (x + side - inset, y + side - inset), _DARK, -1)
        cv2.rectangle(
            canvas, (x + inset, y + inset), (x + side - inset - 1, y + side - inset - 1), colour, -1
        )
        return
    triangle = np.array([[x + side // 2, y], [x, y + side], [x + side, y + side]], np.int32)
    cv2.fillPoly(canvas, [triangle], _TROUBLE, cv2.LINE_8)
    cv2.polylines(canvas, [triangle], True, _DARK, unit, cv2.LINE_8)
    label = _text(kind_of(result.reason).upper(), max(9.0, 4.5 * unit), canvas.shape[1] - x - side - 8 * unit)
    _stamp(canvas, label, (x + side + 2 * unit, y + (side - label.shape[0]) // 2), _TROUBLE)


def _stamp(
    canvas: ImageU8, letters: MaskBool, at: tuple[int, int], colour: tuple[int, int, int, int]
) -> None:
    """Letters with a dark rim; what lies off the canvas is cut."""
    x, y = max(at[0], 0), max(at[1], 0)
    window = canvas[y : y + letters.shape[0], x : x + letters.shape[1]]
    inside = letters[: window.shape[0], : window.shape[1]]
    window[_rim(letters)[: window.shape[0], : window.shape[1]]] = _DARK[: canvas.shape[2]]
    window[inside] = colour[: canvas.shape[2]]


@lru_cache(maxsize=64)
def _text(text: str, height: float, most: int) -> MaskBool:
    """Letters as a mask: OpenCV's own are smoothed, which would blend with the picture.

    Args:
        text: ASCII.
        height: Of a capital letter, pixels.
        most: Widest that it may be, pixels; letters shrink to fit.
    """
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, tall), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = min(height / tall, max(most, 8) / max(wide, 1))
    (wide, tall), below = cv2.getTextSize(text, font, scale, 1)
    grey = np.zeros((tall + below + 4, wide + 4), np.uint8)
    cv2.putText(grey, text, (2, tall + 2), font, scale, 255, 1, cv2.LINE_8)
    letters: MaskBool = grey > 96
    return letters


def _rim(letters: MaskBool) -> MaskBool:
    rim: MaskBool = cv2.dilate(letters.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return rim
