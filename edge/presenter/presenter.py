"""Decides at each step, from the stream and its own clock, what the display shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import cv2

from edge.frame import Result
from edge.limits import PRESENTER_SILENCE_MS
from edge.overlay.layer_cache import LayerDrawing
from edge.presenter.display_options import compose
from edge.status import Reason, ReasonKind, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import ImageU8
    from edge.presenter.display_options import DisplayOptions
    from edge.shm.reader import SegmentReader, Snapshot

NO_NEWS = Reason(ReasonKind.NO_NEWS)
"""Shown when nobody publishes."""

NO_FRAME = Reason(ReasonKind.NO_FRAME)
"""Shown when the last frame is too old and its writer gave no reason."""

_REOPEN_MS = 50.0


class Screen(Protocol):
    """A display."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        ...

    def show(self, canvas: ImageU8) -> None:
        """Show a canvas, (height, width, 3) RGB."""
        ...


class Presenter:
    """Shows the newest overlay, the status alone if its frame is too old, or NO NEWS.

    The presenter relies on nothing but what it reads: a writer that was killed or stopped at any
    point is simply silent.

    Args:
        reader: Reader of the stream.
        screen: Display to draw on.
        options: How the overlay is shown.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self,
        reader: SegmentReader,
        screen: Screen,
        options: DisplayOptions,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._reader, self._screen = reader, screen
        self._options, self._clock = options, clock
        self._drawing = LayerDrawing()
        self._news_ns: int | None = None
        self._reopened_ns = 0
        self._drawn_key: tuple[object, ...] = ()
        self._snapshot: Snapshot | None = None
        self._size = screen.size

    @property
    def silent_ms(self) -> float:
        """Milliseconds since the last heartbeat; infinite before the first one."""
        if self._news_ns is None:
            return float("inf")
        return (self._clock() - self._news_ns) / 1e6

    def step(self) -> bool:
        """Read the stream and show what has changed.

        Returns:
            Whether the display was changed.
        """
        number, news_ns = self._reader.news()
        now = self._clock()
        if news_ns:
            # A time in the future would keep the overlay of a dead writer visible.
            self._news_ns = max(self._news_ns or 0, min(news_ns, now))
        if self.silent_ms >= PRESENTER_SILENCE_MS:
            if now - self._reopened_ns >= _REOPEN_MS * 1e6:
                self._reopened_ns = now
                self._reader.reopen()
            self._snapshot = None
            return self._show_reason(NO_NEWS, None)
        if self._snapshot is None or number != self._snapshot.number:
            self._snapshot = self._reader.read() or self._snapshot
        snapshot = self._snapshot
        if snapshot is None:
            return False
        if snapshot.valid_until_ns and now >= snapshot.valid_until_ns:
            reason = Reason.parse(snapshot.reason) or NO_FRAME
            return self._show_reason(reason, Status(snapshot.state, reason, 0))
        key = ("slot", snapshot.number, snapshot.done_ns, self._screen.size)
        if key == self._drawn_key:
            return False
        self._size = snapshot.overlay.shape[1], snapshot.overlay.shape[0]
        self._show(key, snapshot.overlay, snapshot.picture)
        return True

    def _show_reason(self, reason: Reason, status: Status | None) -> bool:
        """Show a reason instead of an overlay; the status is None if there is no writer."""
        key = ("reason", reason, status, self._screen.size)
        if key == self._drawn_key:
            return False
        result = Result(None, (), 0.0, reason)
        layer = self._drawing.layer((self._size[1], self._size[0]), result, status)
        self._show(key, cv2.cvtColor(layer, cv2.COLOR_BGRA2RGBA), None)
        return True

    def _show(self, key: tuple[object, ...], layer: ImageU8, picture: ImageU8 | None) -> None:
        self._screen.show(compose(layer, picture, self._options, self._screen.size))
        self._drawn_key = key
