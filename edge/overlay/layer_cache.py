"""The overlay for sinks: each layer is drawn once per result, however many sinks show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.overlay.paint import LayerPainter, paint

if TYPE_CHECKING:
    from edge.frame import ImageU8, Result
    from edge.status import Status


def paint_on(picture: ImageU8, result: Result, status: Status) -> ImageU8:
    """Draw the overlay on an image, (H, W, 3) uint8 BGR, in place, and return it.

    Args:
        picture: The frame.
        result: The result for this frame.
        status: The device's status at this frame.
    """
    return paint(picture, result, status)


class LayerDrawing:
    """Draw layers and keep the newest one."""

    def __init__(self) -> None:
        self._of: tuple[tuple[int, int], Result, Status | None] | None = None
        self._layer: ImageU8 | None = None
        self._painter: LayerPainter | None = None

    def layer(self, size: tuple[int, int], result: Result, status: Status | None) -> ImageU8:
        """Return the layer of a result.

        Args:
            size: Height and width of the frame.
            result: The result to draw.
            status: The device's status for its icon; None shows the kind of the result's reason.

        Returns:
            (H, W, 4) uint8 BGRA, opaque where something is drawn and zero elsewhere; valid until
            the next call.
        """
        cached = self._of
        same = (
            cached is not None and cached[0] == size and cached[1] is result and cached[2] == status
        )
        if self._layer is None or not same:
            if self._painter is None or self._painter.size != size:
                self._painter = LayerPainter(size)
            self._layer = self._painter.paint(result, status)
            self._of = (size, result, status)
        return self._layer
