"""The device's state and its one owner.

What is wrong is told to the machine as conditions, each the state that it asks for and a reason;
the gravest one holds. States follow one another as cart.md's table of states has them: BOOT,
SELFTEST, NO_SIGNAL, RUNNING, PAUSED, DEGRADED, BYPASS.
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
"""States from the lightest to the gravest: of several conditions the gravest holds."""

RECOVERY_MS = 500.0
"""How long nothing may be wrong before DEGRADED ends: a fault on every other frame is one state, not a flicker."""


class StateMachine:
    """Settles on one state from all conditions of the moment.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        recovery_ms: How long nothing may be wrong before DEGRADED ends.
    """

    def __init__(
        self, clock: Callable[[], int] = time.monotonic_ns, *, recovery_ms: float = RECOVERY_MS
    ) -> None:
        self._clock, self._recovery_ns = clock, round(recovery_ms * 1e6)
        self._degraded_ns = 0
        self._status = Status(State.BOOT, STARTING, clock())

    @property
    def status(self) -> Status:
        """State and reason now."""
        return self._status

    def settle(self, conditions: Iterable[Condition]) -> Status:
        """Take everything that is wrong at this moment, an empty list where nothing is.

        Args:
            conditions: Conditions are not latched: report BYPASS on every call while it lasts.

        Returns:
            The status that holds from now on; the same object while state and kind of reason do not
            change.
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
        held = self._status
        status = Status(state, reason, now)
        if (status.state, status.kind) != (held.state, held.kind):
            self._status = status
        return self._status
