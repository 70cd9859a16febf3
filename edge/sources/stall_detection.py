"""What live sources watch for: frames that stay away, and pictures that are damaged one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import Interruption
from edge.status import Reason, ReasonKind, State

if TYPE_CHECKING:
    from collections import Counter

    from edge.sources.base import Clock

PERIODS = 3
"""Frame periods that a frame may be late."""

LEAST_S = 0.05
"""A source of many frames per second gets at least so long; threads are not scheduled more exactly."""

DAMAGED_IN_A_ROW = 5

_USUAL_FPS = 25.0


class StallWatch:
    """Notices that no frame came for three frame periods.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        limit_s: How long a frame may be late, None for three periods of `fps`.
        fps: Frames per second, None where unknown.
    """

    def __init__(self, clock: Clock, *, limit_s: float | None = None, fps: float | None = None) -> None:
        self._clock, self._given_s = clock, limit_s
        self.limit_s = LEAST_S
        self._last_ns = clock()
        self.pace(fps)

    def pace(self, fps: float | None) -> None:
        """Frames come at this rate from now on."""
        self.limit_s = self._given_s or max(PERIODS / (fps or _USUAL_FPS), LEAST_S)

    def seen(self) -> None:
        """A frame came."""
        self._last_ns = self._clock()

    def left_s(self) -> float:
        """Seconds until a frame is overdue, 0 or less where it is."""
        return self.limit_s - (self._clock() - self._last_ns) / 1e9

    def interruption(self) -> Interruption:
        """What to raise while a frame is overdue."""
        late = (self._clock() - self._last_ns) / 1e9
        detail = f"no frame for {late:.2f} s, at most {self.limit_s:.2f} s is expected"
        return Interruption(State.NO_SIGNAL, Reason(ReasonKind.STALLED, detail))


class DamageWatch:
    """Counts damaged pictures as `corrupt`, and says so when they come in a row.

    Args:
        counters: Where to count.
        in_a_row: How many are too many.
    """

    def __init__(self, counters: Counter[str], *, in_a_row: int = DAMAGED_IN_A_ROW) -> None:
        self._counters, self._most = counters, in_a_row
        self._row = 0

    def good(self) -> None:
        """A whole picture came."""
        self._row = 0

    def damaged(self, what: str) -> None:
        """A damaged picture came and is dropped.

        Raises:
            Interruption: DEGRADED, as many in a row as are too many, and at each further one.
        """
        self._counters["corrupt"] += 1
        self._row += 1
        if self._row >= self._most:
            detail = f"{self._row} damaged pictures in a row ({what})"
            raise Interruption(State.DEGRADED, Reason(ReasonKind.CORRUPT, detail))
