"""The device's state and its one owner.

The machine receives conditions, each with the state that it requires and a reason; the most severe
condition determines the state. cart.md's table of states describes the transitions between BOOT,
SELFTEST, NO_SIGNAL, RUNNING, PAUSED, DEGRADED and BYPASS.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.status import STARTING, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.status import Condition

GRAVITY = (
    State.RUNNING,
    State.DEGRADED,
    State.PAUSED,
    State.NO_SIGNAL,
    State.SELFTEST,
    State.BOOT,
    State.BYPASS,
)
"""States in order of increasing severity: the most severe of several conditions applies."""

RECOVERY_MS = 500.0
"""Time without problems after which DEGRADED ends, so that repeated faults cause no flicker."""


class StateMachine:
    """Determines the state from all current conditions.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        recovery_ms: Time without problems after which DEGRADED ends.
    """

    def __init__(
        self, clock: Callable[[], int] = time.monotonic_ns, *, recovery_ms: float = RECOVERY_MS
    ) -> None:
        self._clock, self._recovery_ns = clock, round(recovery_ms * 1e6)
        self._degraded_ns = 0
        self._status = Status(State.BOOT, STARTING, clock())

    @property
    def status(self) -> Status:
        """Current state and reason."""
        return self._status

    def resolve(self, conditions: Iterable[Condition]) -> Status:
        """Update the state from everything that is wrong at this moment.

        Args:
            conditions: All current conditions, empty if nothing is wrong. Conditions are not
                latched: report BYPASS on every call while it lasts.

        Returns:
            The new status; the same object while state and kind of reason do not change.
        """
        now = self._clock()
        gravest = max(
            conditions, key=lambda condition: GRAVITY.index(condition.state), default=None
        )
        state, reason = (State.RUNNING, None) if gravest is None else gravest
        if state is State.DEGRADED:
            self._degraded_ns = now
        elif (
            state is State.RUNNING
            and self._status.state is State.DEGRADED
            and now - self._degraded_ns < self._recovery_ns
        ):
            return self._status
        current = self._status
        status = Status(state, reason, now)
        if (status.state, status.kind) != (current.state, current.kind):
            self._status = status
        return self._status
