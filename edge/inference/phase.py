"""The phases of the supervised inference process, and the device state that each requires."""

from __future__ import annotations

from edge.status import Condition, Reason, ReasonKind, State, TextEnum


class Phase(TextEnum):
    """What the supervisor is doing."""

    BOOT = "boot"
    SELFTEST = "selftest"
    READY = "ready"
    RESTARTING = "restarting"
    EXHAUSTED = "exhausted"

    @property
    def condition(self) -> Condition | None:
        """The state that the phase requires; None while the model is ready."""
        return _CONDITIONS.get(self)


_CONDITIONS = {
    Phase.BOOT: Condition(State.BOOT, Reason(ReasonKind.STARTING, "the student is loaded")),
    Phase.SELFTEST: Condition(State.SELFTEST, Reason(ReasonKind.SELFTEST, "golden frames")),
    Phase.RESTARTING: Condition(
        State.DEGRADED, Reason(ReasonKind.RESTARTING, "the student's process is started again")
    ),
    Phase.EXHAUSTED: Condition(
        State.BYPASS, Reason(ReasonKind.EXHAUSTED, "no bundle of this device runs")
    ),
}
