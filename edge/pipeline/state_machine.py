"""The device's state and its one owner.

What is wrong is told to the machine as conditions, each the state that it asks for and a reason; the gravest one
holds. States follow one another as cart.md's table of states has them: BOOT, SELFTEST, NO_SIGNAL, RUNNING, PAUSED,
DEGRADED, BYPASS.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.status import State, Status, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Condition = tuple[State, str]
"""A state that is asked for and why, as `kind` or `kind: detail`."""

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
        self._status = Status(State.BOOT, "starting", clock())

    @property
    def status(self) -> Status:
        """State and reason now."""
        return self._status

    def settle(self, conditions: Iterable[Condition]) -> Status:
        """Take everything that is wrong at this moment, an empty list where nothing is.

        Args:
            conditions: State that is asked for, and why as `kind` or `kind: detail`.
                Who asks for BYPASS for good asks for it each time.

        Returns:
            The status that holds from now on; the same object while state and kind of reason do not change.
        """
        now = self._clock()
        state, reason = max(
            conditions, key=lambda condition: GRAVITY.index(condition[0]), default=(State.RUNNING, "")
        )
        if state is State.DEGRADED:
            self._degraded_ns = now
        elif (
            state is State.RUNNING
            and self._status.state is State.DEGRADED
            and now - self._degraded_ns < self._recovery_ns
        ):
            return self._status
        held = self._status
        if state is not held.state or kind_of(reason) != kind_of(held.reason):
            self._status = Status(state, reason, now)
        return self._status
