"""Decides what becomes of a bundle after the faults of its process; no clock, no I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from edge.status import ReasonKind, TextEnum

if TYPE_CHECKING:
    from edge.errors import InferenceFault

MAX_FAULTS, WITHIN_S = 3, 60.0
"""Number of crashes or hangs within this time that condemns a bundle."""

MAX_DAMAGED = 3
"""Number of consecutive damaged answers that condemns a bundle."""


class Verdict(TextEnum):
    """What the supervisor does after a fault."""

    RESTART = "restart"
    CONDEMN = "condemn"
    DEFER = "defer"


class FaultHistory:
    """The faults of the bundle that runs."""

    def __init__(self) -> None:
        self._faults: deque[tuple[int, str]] = deque(maxlen=MAX_FAULTS)
        self._damaged = 0

    def note_scores(self) -> None:
        """End a series of damaged answers: a frame was scored, or a new process is ready."""
        self._damaged = 0

    def note_damage(self) -> bool:
        """Count a damaged answer; return whether there are enough in a row to act."""
        self._damaged += 1
        return self._damaged >= MAX_DAMAGED

    def clear(self) -> None:
        """Forget all crashes and hangs: the bundle was given up."""
        self._faults.clear()

    def judge(self, fault: InferenceFault, now_ns: int) -> tuple[Verdict, str]:
        """Count a fault that ended the process.

        Args:
            fault: The fault; not one of the machine.
            now_ns: CLOCK_MONOTONIC.

        Returns:
            What to do, and why, which is empty for a restart. A bundle is deferred if all its
            faults are lack of memory: the kernel kills the student first, whichever process used
            the memory up.
        """
        if fault.kind is ReasonKind.DAMAGED:
            return Verdict.CONDEMN, f"{MAX_DAMAGED} damaged answers in a row: {fault.detail}"
        self._faults.append((now_ns, fault.kind))
        if len(self._faults) < MAX_FAULTS or now_ns - self._faults[0][0] > WITHIN_S * 1e9:
            return Verdict.RESTART, ""
        reason = f"{MAX_FAULTS} faults within {WITHIN_S:g} s, the last: {fault}"
        only_memory = {kind for _, kind in self._faults} == {ReasonKind.MEMORY}
        return (Verdict.DEFER if only_memory else Verdict.CONDEMN), reason
