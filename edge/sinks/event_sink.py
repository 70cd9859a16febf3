"""Base of the sinks that hand events to other programs; none of them sends a picture."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from edge.frame import DEFAULT_FPS
from edge.sinks.base import BaseSink, SinkOptions
from edge.sinks.event import EventDetector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.frame import Frame, Result
    from edge.sinks.event import Event
    from edge.status import Status

_DEFAULTS = SinkOptions()


class EventSink(BaseSink):
    """Derives events from frames and statuses; a subclass implements `send`, which never waits.

    Args:
        options: Options that all sinks of the run share.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self, options: SinkOptions = _DEFAULTS, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        super().__init__()
        rate = None if options.live else options.fps or DEFAULT_FPS
        self._detector = EventDetector(rate, clock=clock)

    @abstractmethod
    def send(self, event: Event) -> None:
        """Hand over an event, or drop and count it; called by the frame loop."""

    def write(self, frame: Frame, result: Result) -> None:
        """Send what a frame changes."""
        self._send(self._detector.frame(frame, result))

    def notify(self, status: Status) -> None:
        """Send what a status changes."""
        super().notify(status)
        self._send(self._detector.status(status))

    def end(self) -> None:
        """Send that a region is no longer shown, as the run has ended."""
        self._send(self._detector.end())

    def _send(self, events: Iterable[Event]) -> None:
        for event in events:
            self.send(event)
