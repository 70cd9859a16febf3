"""Errors that a user can fix, each with an exit code, and faults that the device recovers from."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from edge.status import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.status import ReasonKind, State


class EdgeDifomError(Exception):
    """Base of every error that the command line prints as one message.

    Args:
        what: What went wrong, naming the file or device.
        expected: What was needed.
        got: What was found instead.
        hint: What the user can do; names no option of the command line.
        code: Stable name of the problem, by which the command line finds a hint that names its
            options (`edge_difom.cli.hints`); empty if there is none.
        values: Facts that the hint of the command line contains, by name.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: str = "",
        got: str = "",
        hint: str = "",
        code: str = "",
        values: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.what, self.expected, self.got, self.hint = what, expected, got, hint
        self.code, self.values = code, dict(values)
        super().__init__(self.message(hint))

    def message(self, hint: str) -> str:
        """Return the whole message with a hint in place of the error's own."""
        parts = [self.what]
        if self.expected:
            parts.append(f"  expected: {self.expected}")
        if self.got:
            parts.append(f"  got:      {self.got}")
        if hint:
            parts.append(f"  hint:     {hint}")
        return "\n".join(parts)


class UsageError(EdgeDifomError):
    """A wrong option, name or configuration key (the exit code that click uses too)."""

    exit_code = 2


class DataError(EdgeDifomError):
    """Images, masks or clips that cannot be used as they are."""

    exit_code = 3


class BundleError(EdgeDifomError):
    """A bundle that is damaged, incomplete or has a different schema."""

    exit_code = 4


class ParityError(EdgeDifomError):
    """Two runtimes, or a runtime and its golden frames, disagree."""

    exit_code = 5


class AccuracyError(EdgeDifomError):
    """Accuracy fell below the requested minimum."""

    exit_code = 6


class LatencyError(EdgeDifomError):
    """A latency bound was exceeded, or a measurement that must be valid was disturbed."""

    exit_code = 7


class MissingDependencyError(EdgeDifomError):
    """The environment lacks an optional dependency, an engine or a system package."""

    exit_code = 8


class SourceError(EdgeDifomError):
    """A camera, clip or folder that delivers no frames."""

    exit_code = 9


class TrainingError(EdgeDifomError):
    """Training diverged, or a run or checkpoint cannot be continued."""

    exit_code = 10


class BusyError(EdgeDifomError):
    """A device or a run folder is in use, or a disk is full."""

    exit_code = 11


class AdvisoryError(EdgeDifomError):
    """A component of the device's software has a known vulnerability, or it cannot be ruled out."""

    exit_code = 12


class MachineError(BusyError):
    """The machine is short of descriptors, memory or disk space, or a medium does not answer.

    A later try may succeed; no bundle is at fault (`edge.util.machine_fault`).
    """


class Interruption(Exception):  # noqa: N818 - a camera may be silent without an error
    """A live source has no image for now; it stays open, and `read` may be called again at once.

    Args:
        state: `NO_SIGNAL`, or `DEGRADED` if pictures arrive that cannot be used.
        reason: Why, such as `unplugged: /dev/video0 is gone, tried 3 times`.
    """

    def __init__(self, state: State, reason: Reason) -> None:
        super().__init__(str(reason))
        self.state, self.reason = state, reason


class InferenceFault(Exception):  # noqa: N818 - a fault is recovered from, and known by that name
    """The engine has no scores for this frame; the next call may succeed.

    Args:
        kind: `LATE`, `HANG`, `CRASH`, `MEMORY`, `MACHINE`, `DAMAGED`, `RESTARTING` or
            `EXHAUSTED`.
        detail: What happened.
    """

    def __init__(self, kind: ReasonKind, detail: str) -> None:
        self.reason = Reason(kind, detail)
        super().__init__(str(self.reason))

    @property
    def kind(self) -> ReasonKind:
        """The kind of fault."""
        return self.reason.kind

    @property
    def detail(self) -> str:
        """What happened."""
        return self.reason.detail
