"""Draw the overlay: outlines of regions, the state's icon, field-of-view corners and the notice.

Every drawn pixel is opaque, and every other pixel stays unchanged: the pixel-level degradation of
the image, which 21 CFR 876.1520 asks for, is zero. The same code draws on an image or on a
transparent layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.frame import Result
from edge.imaging.buffer_pool import blank
from edge.overlay.icons import DARK, FOUND, READY, around, corners, letters, mark_of, sign
from edge.overlay.outlines import smooth_outline
from edge.status import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8
    from edge.status import Status

NOTICE = "RESEARCH USE ONLY - NOT A MEDICAL DEVICE"

_WORD, _NOTICE, _SMALLEST = 0.03, 0.016, 7.0
"""Height of a capital letter of the state and of the notice, shares of the frame; least pixels."""

_OUTLINED = (State.RUNNING, State.DEGRADED)
"""States in which a result may show outlines."""


def overlay(
    image: ImageU8,
    result: Result,
    status: Status | None = None,
    *,
    field_of_view: Box | None = None,
) -> ImageU8:
    """Return a copy of a frame with the overlay drawn on it.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: The result to draw; with a reason, no outline is drawn.
        status: The device's status for its icon; None shows the kind of the result's reason.
        field_of_view: Box for the corners (x, y, width, height); by default the result's, or the
            whole frame.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    return paint(image.copy(), result, status, field_of_view=field_of_view)


def layer(
    size: tuple[int, int],
    result: Result,
    status: Status | None = None,
    *,
    field_of_view: Box | None = None,
) -> ImageU8:
    """Draw the overlay on a transparent layer, (H, W, 4) uint8 BGRA.

    Args:
        size: Height and width of the frame.
        result: The result to draw; with a reason, no outline is drawn.
        status: The device's status for its icon; None shows the kind of the result's reason.
        field_of_view: Box for the corners; by default the result's, or the whole frame.
    """
    return paint(np.zeros((*size, 4), np.uint8), result, status, field_of_view=field_of_view)


def without_frame(status: Status) -> Result:
    """Make a result for the time without a frame: no region, and the status's reason."""
    return Result(None, (), 0.0, status.reason)


def paint(
    canvas: ImageU8,
    result: Result,
    status: Status | None = None,
    *,
    field_of_view: Box | None = None,
) -> ImageU8:
    """Draw the overlay on a BGR or BGRA canvas in place, and return it."""
    view = field_of_view or result.field_of_view or (0, 0, canvas.shape[1], canvas.shape[0])
    unit = _unit(view)
    _outline(canvas, _outlines(result, status, view), unit)
    _surround(canvas, result, status, view)
    return canvas


class LayerPainter:
    """Draw successive layers into one buffer; only the previously drawn boxes are cleared.

    Args:
        size: Height and width of the frames.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._layer = blank((*size, 4))
        self._around: list[Box] = []
        self._inside: list[Box] = []
        self._painted: object = None

    def paint(self, result: Result, status: Status | None = None) -> ImageU8:
        """Draw the layer of a result, with the same pixels as `layer`.

        Args:
            result: The result to draw.
            status: The device's status for its icon; None shows the kind of the result's reason.

        Returns:
            (H, W, 4) uint8 BGRA: a view of the buffer, valid until the next call; do not write to
            it.
        """
        view = result.field_of_view or (0, 0, self.size[1], self.size[0])
        unit = _unit(view)
        outlines = _outlines(result, status, view)
        inside = [around(outline, 2 * unit + 1) for outline in outlines]
        key = (view, mark_of(result, status))
        keep = key == self._painted and not any(
            _meet(one, other) for one in (*self._inside, *inside) for other in self._around
        )
        for box in self._inside if keep else (*self._inside, *self._around):
            self._clear(box)
        _outline(self._layer, outlines, unit)
        if not keep:
            self._around = _surround(self._layer, result, status, view)
        self._inside, self._painted = inside, key
        return self._layer

    def _clear(self, box: Box) -> None:
        x, y, width, height = box
        self._layer[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = 0


def _unit(view: Box) -> int:
    """Return the line width in pixels."""
    return max(1, round(min(view[2:]) / 240))


def _outlines(result: Result, status: Status | None, view: Box) -> list[NDArray[np.int32]]:
    """Return the outlines that may be drawn, smoothed by about two cells of the score map."""
    if result.reason is not None or (status is not None and status.state not in _OUTLINED):
        return []
    sigma, tolerance = min(view[2:]) / 120, _unit(view) / 4
    regions = [
        smooth_outline(region.contour, sigma, tolerance)
        for region in result.regions
        if region.contour
    ]
    return regions + [np.array(box.contour, np.int32) for box in result.boxes if box.contour]


def _outline(canvas: ImageU8, outlines: list[NDArray[np.int32]], unit: int) -> None:
    cv2.polylines(canvas, outlines, True, DARK, 2 * unit + 1, cv2.LINE_8)
    cv2.polylines(canvas, outlines, True, FOUND, unit, cv2.LINE_8)


def _surround(canvas: ImageU8, result: Result, status: Status | None, view: Box) -> list[Box]:
    """Draw corners, icon and notice; return the boxes that they touched."""
    x, y, w, h = view
    unit = _unit(view)
    touched = corners(canvas, view, unit)
    word, notice = (max(_SMALLEST, share * canvas.shape[0]) for share in (_WORD, _NOTICE))
    upper_left, lower_left = (x + 6 * unit, y + 6 * unit), (x + 6 * unit, y + h - 6 * unit)
    touched.append(sign(canvas, mark_of(result, status), upper_left, unit, word))
    # It ends before the corner at the right begins.
    touched.append(letters(canvas, NOTICE, lower_left, notice, w - 21 * unit, READY))
    return touched


def _meet(one: Box, other: Box) -> bool:
    """Whether two boxes share a pixel."""
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )
