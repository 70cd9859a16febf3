"""The layer as a stream for a hardware keyer: SDI cards and others that GStreamer drives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import BusyError, UsageError
from edge.sources import gst_bindings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import ImageU8

_SOURCE = (
    "appsrc name=layer is-live=true do-timestamp=true format=time block=false max-buffers=2 "
    "leaky-type=downstream caps=video/x-raw,format=BGRA,width={},height={},framerate={}/1 ! "
)


class KeyerScreen:
    """A GStreamer pipeline that receives the canvas at a fixed rate; a context manager.

    Args:
        text: Elements after the source of (height, width, 4) BGRA frames, in the notation of
            gst-launch-1.0, such as `decklinkvideosink mode=1080p60 video-format=8bit-bgra
            keyer-mode=internal`.
        size: Width and height of the keyer's picture, pixels.
        rate: Frames per second.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        MissingDependencyError: GStreamer's bindings are not installed.
        UsageError: The text is no pipeline, or an element of it is not installed.
        BusyError: The pipeline does not start, such as without the card.
    """

    def __init__(
        self,
        text: str,
        *,
        size: tuple[int, int],
        rate: int = 60,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        bindings = gst_bindings.load()
        self._gst, self.size = bindings.gst, size
        self._clock, self._period_ns, self._due_ns = clock, round(1e9 / rate), 0
        self._frame = np.zeros((size[1], size[0], 4), np.uint8)
        try:
            self._pipeline: Any = self._gst.parse_launch_full(
                _SOURCE.format(*size, rate) + text, None, self._gst.ParseFlags.FATAL_ERRORS
            )
        except bindings.error as error:
            raise UsageError(
                "the keyer's pipeline cannot be built",
                expected="elements of gst-launch-1.0, the last one a sink",
                got=str(error),
                hint="gst-inspect-1.0 lists the elements that are installed",
            ) from error
        self._source, self._bus = self._pipeline.get_by_name("layer"), self._pipeline.get_bus()
        playing = self._pipeline.set_state(self._gst.State.PLAYING)
        if playing == self._gst.StateChangeReturn.FAILURE:
            self._fail()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    @property
    def closed(self) -> bool:
        """Whether the stream has ended; also sends the canvas again when its time has come.

        Raises:
            BusyError: The pipeline failed, such as after the card was removed.
        """
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR | self._gst.MessageType.EOS)
        if message is not None and message.type == self._gst.MessageType.ERROR:
            self._fail(message)
        now = self._clock()
        if now >= self._due_ns:
            late = now - self._due_ns >= self._period_ns
            self._due_ns = (now if late else self._due_ns) + self._period_ns
            self._source.emit("push-buffer", self._gst.Buffer.new_wrapped(self._frame.tobytes()))
        return message is not None

    def show(self, canvas: ImageU8) -> None:
        """Take a canvas, (height, width, 3) RGB without or (height, width, 4) RGBA with a key."""
        keyed = canvas.shape[2] == 4
        cv2.cvtColor(canvas, cv2.COLOR_RGBA2BGRA if keyed else cv2.COLOR_RGB2BGRA, dst=self._frame)
        self._due_ns = 0

    def _fail(self, message: Any = None) -> None:
        message = message or self._bus.timed_pop_filtered(0, self._gst.MessageType.ERROR)
        told = message.parse_error()[0].message if message is not None else "no reason was given"
        self._pipeline.set_state(self._gst.State.NULL)
        raise BusyError(
            "the keyer's pipeline failed",
            expected="a card that is connected and not in use",
            got=told,
            hint="check card, driver and mode with gst-launch-1.0",
        )
