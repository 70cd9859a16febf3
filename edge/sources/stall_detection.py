"""Detects stalled live sources and series of damaged images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import Interruption
from edge.frame import DEFAULT_FPS
from edge.status import Reason, ReasonKind, State

if TYPE_CHECKING:
    from collections import Counter

    from edge.sources.base import Clock

PERIODS = 3
"""Number of frame periods that a frame may be late."""

MIN_STALL_S = 0.05
"""Minimum time that a frame may be late, seconds; threads are not scheduled more precisely."""

DAMAGED_IN_A_ROW = 5


class StallWatch:
    """Detects that no frame came for three frame periods.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        limit_s: Seconds that a frame may be late, None for three periods of `fps`.
        fps: Frames per second, None if unknown.
    """

    def __init__(
        self, clock: Clock, *, limit_s: float | None = None, fps: float | None = None
    ) -> None:
        self._clock, self._given_s = clock, limit_s
        self.limit_s = MIN_STALL_S
        self._last_ns = clock()
        self.pace(fps)

    def pace(self, fps: float | None) -> None:
        """Set the rate at which frames come from now on."""
        self.limit_s = self._given_s or max(PERIODS / (fps or DEFAULT_FPS), MIN_STALL_S)

    def note_frame(self) -> None:
        """Record that a frame came."""
        self._last_ns = self._clock()

    def left_s(self) -> float:
        """Return the seconds until a frame is overdue; 0 or less if it is."""
        return self.limit_s - (self._clock() - self._last_ns) / 1e9

    def interruption(self) -> Interruption:
        """Return the exception to raise while a frame is overdue."""
        late = (self._clock() - self._last_ns) / 1e9
        detail = f"no frame for {late:.2f} s, at most {self.limit_s:.2f} s is expected"
        return Interruption(State.NO_SIGNAL, Reason(ReasonKind.STALLED, detail))


class DamageWatch:
    """Counts damaged images as `corrupt`, and interrupts when too many come in a row.

    Args:
        counters: Counters to increase.
        in_a_row: Number of consecutive damaged images that are too many.
    """

    def __init__(self, counters: Counter[str], *, in_a_row: int = DAMAGED_IN_A_ROW) -> None:
        self._counters, self._most = counters, in_a_row
        self._row = 0

    def good(self) -> None:
        """Record that a complete image came."""
        self._row = 0

    def damaged(self, what: str) -> None:
        """Record that a damaged image came and is dropped.

        Args:
            what: What is wrong with it.

        Raises:
            Interruption: Too many in a row were damaged; the state is DEGRADED.
        """
        self._counters["corrupt"] += 1
        self._row += 1
        if self._row >= self._most:
            detail = f"{self._row} damaged pictures in a row ({what})"
            raise Interruption(State.DEGRADED, Reason(ReasonKind.CORRUPT, detail))
