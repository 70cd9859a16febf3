"""A live source that reconnects: after a failure it is reopened until it delivers again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

from edge.errors import Interruption, SourceError
from edge.sources.base import BaseSource
from edge.status import Reason, ReasonKind, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Frame

BACKOFF_S = (0.1, 2.0)
"""Pause after the first failed attempt, and the maximum to which it is doubled."""

PATIENCE_S = 2.0
"""How long a source may deliver no image before it is reopened."""

_OF_THE_INPUT = (ReasonKind.NO_SIGNAL, ReasonKind.NO_LOCK, ReasonKind.OUT_OF_RANGE)
"""Reasons that concern the input of a device; reopening the device would not change them."""

_SLICE_S = 0.05


class ReopeningSource(BaseSource):
    """Frames of a source that is built anew for each attempt; numbers and stamps keep rising.

    Only the first opening fails with an error: a device that was never present is a mistake of the
    user. After that the same device is searched for, by the stable name that the source has while
    it is open.

    Args:
        make: Builds the source of a stable name, or the requested one for None. Names such as a
            camera's node are resolved at each attempt.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    live = True

    def __init__(self, make: Callable[[str | None], BaseSource], **timing: Any) -> None:
        super().__init__(**timing)
        self._make = make
        self.description = make(None).description
        self._inner: BaseSource | None = None
        # `close` does not wait for a device that is being opened; the opening thread closes it.
        self._handover, self._openings, self._closed = threading.Lock(), 0, True
        self._inner_index = -1
        self._reason = Reason(ReasonKind.UNPLUGGED)
        self._pause_s, self._next_ns = BACKOFF_S[0], 0
        self._silent_ns: int | None = None

    def _open(self) -> None:
        self._openings, self._closed = self._openings + 1, False
        self._start()

    def _start(self) -> BaseSource:
        inner, opening = self._make(self.lasting), self._openings
        inner.counters = self.counters
        inner.__enter__()
        with self._handover:
            current = not self._closed and opening == self._openings
            if current:
                self._inner = inner
        if not current:
            inner.close()
            reason = Reason(ReasonKind.CLOSED, "while the source was being opened")
            raise Interruption(State.NO_SIGNAL, reason)
        self.lasting = inner.lasting
        self.fps, self.description = inner.fps, inner.description
        self._inner_index, self._silent_ns = -1, None
        return inner

    def _next(self) -> Frame | None:
        inner = self._inner or self._try_again()
        try:
            frame = inner.read()
        except SourceError as error:
            self._lose(Reason(ReasonKind.UNPLUGGED, error.what))
        except Interruption as interruption:
            if (
                interruption.state is not State.NO_SIGNAL
                or interruption.reason.kind in _OF_THE_INPUT
            ):
                self._silent_ns = None
                raise
            now = self._clock()
            self._silent_ns = now if self._silent_ns is None else self._silent_ns
            if now - self._silent_ns >= PATIENCE_S * 1e9:
                self._lose(interruption.reason)
            raise
        if frame is None:
            return None
        self._silent_ns, self._pause_s = None, BACKOFF_S[0]
        skipped = max(0, frame.index - self._inner_index - 1)
        self._inner_index = frame.index
        return self._frame(frame.image, captured_ns=frame.captured_ns, skipped=skipped)

    def _lose(self, reason: Reason) -> NoReturn:
        """Close the failed source and report it."""
        self._reason, self._next_ns = reason, self._clock()
        self._drop()
        raise Interruption(State.NO_SIGNAL, reason)

    def _try_again(self) -> BaseSource:
        """Reopen if it is time; otherwise wait briefly, so that `close` never waits long."""
        left_s = (self._next_ns - self._clock()) / 1e9
        if left_s > 0:
            self._sleep(min(left_s, _SLICE_S))
            raise Interruption(State.NO_SIGNAL, self._reason)
        try:
            inner = self._start()
        except SourceError as error:
            self._next_ns = self._clock() + round(self._pause_s * 1e9)
            self._pause_s = min(2 * self._pause_s, BACKOFF_S[1])
            self._reason = Reason(ReasonKind.UNPLUGGED, error.what)
            raise Interruption(State.NO_SIGNAL, self._reason) from error
        self.counters["reopened"] += 1
        return inner

    def _drop(self) -> None:
        with self._handover:
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def _close(self) -> None:
        with self._handover:
            self._closed = True
        self._drop()
