"""The overlay as sinks use it; a layer is drawn once for a result, however many sinks show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.overlay.paint import LayerPainter, paint

if TYPE_CHECKING:
    from edge.frame import ImageU8, Result
    from edge.status import Status


def paint_on(picture: ImageU8, result: Result, status: Status) -> ImageU8:
    """Draw on a picture, (H, W, 3) uint8 BGR, in place, and return it.

    Args:
        picture: The frame.
        result: What was found on it.
        status: The device's when it was.
    """
    return paint(picture, result, status)


class LayerDrawing:
    """Draws layers and keeps the newest."""

    def __init__(self) -> None:
        self._of: tuple[tuple[int, int], Result, Status | None] | None = None
        self._layer: ImageU8 | None = None
        self._painter: LayerPainter | None = None

    def layer(self, size: tuple[int, int], result: Result, status: Status | None) -> ImageU8:
        """The layer of a result.

        Args:
            size: Height and width of the frame.
            result: What was found.
            status: The device's, for the glyph; None where the result alone tells it.

        Returns:
            (H, W, 4) uint8 BGRA, opaque where something is drawn and zero elsewhere; valid until
            the next call.
        """
        held = self._of
        same = held is not None and held[0] == size and held[1] is result and held[2] == status
        if self._layer is None or not same:
            if self._painter is None or self._painter.size != size:
                self._painter = LayerPainter(size)
            self._layer = self._painter.paint(result, status)
            self._of = (size, result, status)
        return self._layer
