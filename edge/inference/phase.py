"""The phases of the supervised inference process, and the device state that they require."""

from __future__ import annotations

from edge.errors import BundleError, EdgeDifomError
from edge.status import Condition, Reason, ReasonKind, State, TextEnum


class Phase(TextEnum):
    """What the supervisor is doing."""

    BOOT = "boot"
    SELFTEST = "selftest"
    READY = "ready"
    RESTARTING = "restarting"
    EXHAUSTED = "exhausted"


def required_condition(
    phase: Phase,
    *,
    gave_up: str = "",
    lacking: str = "",
    fallen_back: bool = False,
    trouble: str = "",
) -> Condition | None:
    """Return the device state that the student requires; None while it runs as it should.

    Args:
        phase: The phase of its process.
        gave_up: Why the last abandoned bundle was abandoned.
        lacking: What the machine lacks to start the process.
        fallen_back: Whether the bundle is the last resort of the device.
        trouble: Why the store of bundles cannot record what happens.
    """
    if phase is Phase.EXHAUSTED:
        detail = gave_up or "no bundle of this device runs"
        return Condition(State.BYPASS, Reason(ReasonKind.EXHAUSTED, detail))
    if lacking:
        return Condition(State.DEGRADED, Reason(ReasonKind.MACHINE, lacking))
    if phase is Phase.BOOT:
        detail = trouble or "the student is loaded"
        return Condition(State.BOOT, Reason(ReasonKind.STARTING, detail))
    if phase is Phase.SELFTEST:
        return Condition(State.SELFTEST, Reason(ReasonKind.SELFTEST, "golden frames"))
    if phase is Phase.RESTARTING:
        detail = "the student's process is started again"
        return Condition(State.DEGRADED, Reason(ReasonKind.RESTARTING, detail))
    if fallen_back:
        detail = f"the shipped bundle runs: {gave_up or trouble or 'none is installed'}"
        return Condition(State.DEGRADED, Reason(ReasonKind.FALLBACK, detail))
    if trouble:
        return Condition(State.DEGRADED, Reason(ReasonKind.UNRECORDED, trouble))
    return None


def exhausted_error(last: Exception | None, gave_up: str) -> EdgeDifomError:
    """Return why nothing is left to run, with the exit code of the last reason.

    Args:
        last: The last error of a start; None if its reason was no error.
        gave_up: Why the last abandoned bundle was abandoned.
    """
    if isinstance(last, EdgeDifomError):
        kind: type[EdgeDifomError] = type(last)
        return kind(
            f"no student can run: {last.what}",
            expected=last.expected,
            got=last.got,
            hint=last.hint,
            code=last.code,
        )
    if not gave_up:
        return BundleError(
            "no student can run: no bundle is installed",
            expected="an active bundle, or a previous one",
            got="none in the folder that holds the state of installed bundles",
            hint="install a bundle, or name one",
            code="no-bundle",
        )
    return BundleError(
        "no student can run",
        expected="a bundle that opens and passes its self-test on this machine",
        got=gave_up,
        hint="check what this machine can run",
        code="no-student",
    )
