"""Checks of a soak: the journal, what a reader of the shared memory saw, and the fault schedule.

Every check is a function of recorded data, so that a killed soak is judged like a complete one.
Times are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from edge.inference.process import HANG_MS
from edge.limits import INFERENCE_TIMEOUT_MS, MAX_MASK_AGE_MS
from edge.pipeline.frame_guard import ENTER_MS, FREEZE_MS, LEAVE_MS
from edge.pipeline.loop import POLL_S
from edge.pipeline.state_machine import RECOVERY_MS
from edge.sources.stall_detection import MIN_STALL_S
from edge.status import Reason, ReasonKind, State
from edge.telemetry.journal import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RESTART_MS = 5000.0
"""Longest time from the death of the student's process to the next mask.

It includes opening the engine, the golden frames and one frame.
"""

_NOTICE_MS = MAX_MASK_AGE_MS
"""A frame that shows a fault passes the loop before it is too old to be drawn."""
_SHORT_OF_TIME = (ReasonKind.STALE, ReasonKind.LATE)
_PREPARING = (State.BOOT.value, State.SELFTEST.value)


class Response(NamedTuple):
    """Required response to a fault of the source.

    Attributes:
        state: Required state; None if the device must stay RUNNING.
        kind: Kind of the reason.
        within_ms: Longest time from the begin of the fault to the state.
        off_ms: Longest time from the begin of the fault to the last moment with a mask.
        back_ms: Longest time from the end of the fault to RUNNING.
    """

    state: State | None
    kind: ReasonKind | None = None
    within_ms: float = 0.0
    off_ms: float = 0.0
    back_ms: float = 0.0


def _paused(kind: ReasonKind, enter_ms: float) -> Response:
    within = enter_ms + _NOTICE_MS
    return Response(State.PAUSED, kind, within, within, LEAVE_MS + _NOTICE_MS)


_AWAY_MS = MAX_MASK_AGE_MS + 1000 * POLL_S
FAULT_BOUNDS = {
    "black": _paused(ReasonKind.BLACK, ENTER_MS[ReasonKind.BLACK]),
    "overexposed": _paused(ReasonKind.LIGHT, ENTER_MS[ReasonKind.LIGHT]),
    "blur": _paused(ReasonKind.BLURRED, ENTER_MS[ReasonKind.BLURRED]),
    "freeze": _paused(ReasonKind.FREEZE, FREEZE_MS),
    "stall": Response(
        State.NO_SIGNAL,
        ReasonKind.STALLED,
        1000 * MIN_STALL_S + _AWAY_MS,
        MAX_MASK_AGE_MS,
        _AWAY_MS,
    ),
    "unplug": Response(State.NO_SIGNAL, ReasonKind.UNPLUGGED, _AWAY_MS, MAX_MASK_AGE_MS, _AWAY_MS),
    "corrupt": Response(
        State.DEGRADED, ReasonKind.CORRUPT, _AWAY_MS, MAX_MASK_AGE_MS, RECOVERY_MS + _AWAY_MS
    ),
    "format": Response(None, back_ms=_NOTICE_MS),
    "drop": Response(None, back_ms=_NOTICE_MS),
    "fov": Response(None, back_ms=_NOTICE_MS),
    "text": Response(None, back_ms=_NOTICE_MS),
}
"""Maps the kind of a source's fault to the required response.

Rows 1, 5, 6, 8 to 12 and 14 of the table of failures state them; the times are those of the code
that responds. A view that differs for less than two seconds does not count as a new view.
"""

WORKER_BOUNDS = {
    "kill": (ReasonKind.MEMORY, 2 * _NOTICE_MS, RESTART_MS),
    "stop": (
        ReasonKind.HANG,
        1.5 * HANG_MS + INFERENCE_TIMEOUT_MS,
        1.5 * HANG_MS + INFERENCE_TIMEOUT_MS + RESTART_MS,
    ),
}
"""Maps an injection into the student's process to the kind that the journal names.

The times are the limits in milliseconds until the journal names it and until the next mask.
"""


class Span(NamedTuple):
    """A fault of the source: kind, begin and end."""

    kind: str
    begin: int
    end: int


class Injection(NamedTuple):
    """An injection: `kill`, `stop`, `journal-moved`, `journal-removed` or `metrics-removed`."""

    kind: str
    at: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one check.

    Attributes:
        name: Short name.
        what: Required property with its bound.
        passed: Whether it holds; None if the soak was too short to decide.
        figures: Measured figures.
        failures: Violations, at most 20.
    """

    name: str
    what: str
    passed: bool | None
    figures: dict[str, Any]
    failures: list[str] = []


class Change(NamedTuple):
    """A change of state in the journal."""

    at: int
    state: str
    kind: ReasonKind | None


def changes_of(events: Iterable[Event]) -> list[Change]:
    """Return the states of a journal, in order."""
    return [
        Change(event.mono_ns, event.details["state"], None if reason is None else reason.kind)
        for event in events
        if event.kind == "state"
        for reason in [Reason.parse(event.details["reason"])]
    ]


def read_journal(contents: Mapping[str, bytes], pid: int) -> tuple[list[Event], int]:
    """Read the events of one process from all files of its journal, and count damaged lines.

    Args:
        contents: Maps names of files to contents; they may hold other runs.
        pid: Id of the process.
    """
    lines = [line for content in contents.values() for line in content.splitlines()]
    parsed = [_event(line) for line in lines]
    events = [event for event in parsed if event is not None]
    torn = len(parsed) - len(events)
    runs = {
        event.run for event in events if event.kind == "start" and event.details.get("pid") == pid
    }
    return sorted(
        (event for event in events if event.run in runs), key=lambda event: event.seq
    ), torn


def _event(line: bytes) -> Event | None:
    try:
        return msgspec.json.decode(line, type=Event)
    except msgspec.DecodeError:
        return None


def check_lines(events: Sequence[Event], torn: int, *, files: int, ended: bool) -> Check:
    """Check that no line of the journal is lost, duplicated or damaged.

    Args:
        events: Events of one run, in the order of their numbers.
        torn: Number of damaged lines.
        files: Number of files that held the lines.
        ended: Whether the run ended, so that its last line must exist.
    """
    counts = Counter(event.seq for event in events)
    last = max(counts, default=0)
    lost = [seq for seq in range(1, last + 1) if seq not in counts]
    double = [seq for seq, count in counts.items() if count > 1]
    failures = [f"line {seq} is lost" for seq in lost] + [
        f"line {seq} is there twice" for seq in double
    ]
    if torn:
        failures.append(f"{torn} lines are torn")
    if not events:
        failures.append("there is no line")
    elif ended and events[-1].kind != "stop":
        failures.append(f"the last line is {events[-1].kind!r}")
    return Check(
        name="journal",
        what="line numbers have no gap or repetition over all files",
        passed=not failures,
        figures={
            "lines": len(events),
            "lost": len(lost),
            "double": len(double),
            "torn": torn,
            "files": files,
        },
        failures=failures[:20],
    )


def check_faults(
    changes: Sequence[Change],
    spans: Sequence[Span],
    disturbed: Sequence[tuple[int, int]],
    visibility: Sequence[tuple[int, bool]],
    sizes: Sequence[tuple[int, tuple[int, int]]] = (),
) -> Check:
    """Check that every fault of the source, and its end, gets its response in time.

    Args:
        changes: States in the journal.
        spans: Faults that are over.
        disturbed: Begin and end of the times of other faults. A fault in such a time that must have
            no effect is not checked, nor is the recovery after a fault.
        visibility: Times at which a mask appeared (True) or disappeared (False).
        sizes: Times at which the frame size changed, and the new size.
    """
    took: defaultdict[str, list[float]] = defaultdict(list)
    back: defaultdict[str, list[float]] = defaultdict(list)
    failures, looked = [], Counter[str]()
    for span in spans:
        bound = FAULT_BOUNDS[span.kind]
        name = f"{span.kind} at {span.begin / 1e9:.2f} s"
        until = span.end + round(bound.back_ms * 1e6)
        calm = not any(begin < until and end > span.begin for begin, end in disturbed)
        if bound.state is None:
            if not calm:
                continue
            looked[span.kind] += 1
            wrong = [
                c for c in changes if span.begin <= c.at < until and c.state != State.RUNNING.value
            ]
            failures += [
                f"{name}: {c.state} ({c.kind})" for c in wrong if c.kind not in _SHORT_OF_TIME
            ]
            if span.kind == "format":
                _time(_resized(sizes, span), _NOTICE_MS, name, took[span.kind], failures)
            continue
        looked[span.kind] += 1
        state, kind = bound.state.value, bound.kind
        at = next(
            (
                c.at
                for c in changes
                if span.begin <= c.at <= until and (c.state, c.kind) == (state, kind)
            ),
            None,
        )
        _time(
            _since(at, span.begin), bound.within_ms, f"{name}: {state}", took[span.kind], failures
        )
        limit = span.begin + round(bound.off_ms * 1e6)
        if shown_between(visibility, limit, span.end):
            failures.append(
                f"{name}: a mask is shown more than {bound.off_ms:.0f} ms after its begin"
            )
        if calm and at is not None:
            over = next(
                (c.at for c in changes if c.at > at and c.state == State.RUNNING.value), None
            )
            _time(
                _since(over, span.end),
                bound.back_ms,
                f"{name}: its end",
                back[span.kind],
                failures,
            )
    figures = {
        kind: {
            "faults": looked[kind],
            "worst_ms": _worst(took[kind]),
            "bound_ms": FAULT_BOUNDS[kind].within_ms if FAULT_BOUNDS[kind].state else None,
            "worst_end_ms": _worst(back[kind]),
            "bound_end_ms": FAULT_BOUNDS[kind].back_ms if FAULT_BOUNDS[kind].state else None,
        }
        for kind in looked
    }
    return Check(
        name="faults",
        what="every fault of the source leads to its state in time, and its end to RUNNING",
        passed=not failures if looked else None,
        figures=figures,
        failures=failures[:20],
    )


def check_worker(
    events: Sequence[Event], injections: Sequence[Injection], visibility: Sequence[tuple[int, bool]]
) -> tuple[Check, list[tuple[int, int]]]:
    """Check that a dead or hung student's process is noticed and replaced.

    Also returns the times in which it was away.

    Args:
        events: Events of the journal.
        injections: Injections whose time to respond is over.
        visibility: Times at which a mask appeared or disappeared, as for `check_faults`.
    """
    delays: defaultdict[str, list[float]] = defaultdict(list)
    recovered: defaultdict[str, list[float]] = defaultdict(list)
    failures: list[str] = []
    away = []
    for what, at in injections:
        if what not in WORKER_BOUNDS:
            continue
        kind, journal_ms, mask_ms = WORKER_BOUNDS[what]
        name = f"{what} at {at / 1e9:.2f} s"
        detected_at = next(
            (event.mono_ns for event in events if event.kind == kind and event.mono_ns >= at), None
        )
        _time(
            _since(detected_at, at),
            journal_ms,
            f"{name}: '{kind}' in the journal",
            delays[what],
            failures,
        )
        hidden_at = next((moment for moment, on in visibility if moment >= at and not on), None)
        mask = (
            None
            if hidden_at is None
            else next((moment for moment, on in visibility if moment > hidden_at and on), None)
        )
        _time(_since(mask, at), mask_ms, f"{name}: the next mask", recovered[what], failures)
        settled = round((RECOVERY_MS + _NOTICE_MS) * 1e6)
        away.append((at, (at + round(mask_ms * 1e6) if mask is None else mask) + settled))
    figures = {
        what: {
            "injected": len(delays[what]),
            "worst_told_ms": _worst(delays[what]),
            "told_bound_ms": WORKER_BOUNDS[what][1],
            "worst_mask_ms": _worst(recovered[what]),
            "median_mask_ms": float(np.median(recovered[what])) if recovered[what] else None,
            "mask_bound_ms": WORKER_BOUNDS[what][2],
        }
        for what in delays
    }
    check = Check(
        name="student's process",
        what="a killed or stopped process is reported and replaced in time",
        passed=not failures if delays else None,
        figures=figures,
        failures=failures[:20],
    )
    return check, away


def check_calm(
    changes: Sequence[Change],
    spans: Sequence[Span],
    disturbed: Sequence[tuple[int, int]],
    until: int,
) -> Check:
    """Check that no fault is reported without a cause; late masks are counted, not errors."""
    excused = [*disturbed]
    excused += [
        (span.begin, span.end + round(FAULT_BOUNDS[span.kind].back_ms * 1e6)) for span in spans
    ]
    ready = next((change.at for change in changes if change.state == State.RUNNING.value), until)
    strange = [
        change
        for change in changes
        if ready < change.at < until
        and change.state != State.RUNNING.value
        and not any(begin <= change.at <= end for begin, end in excused)
    ]
    wrong = [change for change in strange if change.kind not in _SHORT_OF_TIME]
    return Check(
        name="calm",
        what="no state without a fault; `stale` and `late` are only counted, "
        "because the machine may be short of time",
        passed=not wrong,
        figures={
            "unexplained": len(wrong),
            "short_of_time": len(strange) - len(wrong),
            "states": len(changes),
        },
        failures=[f"{change.state} ({change.kind}) at {change.at / 1e9:.2f} s" for change in wrong][
            :20
        ],
    )


def shown_between(visibility: Sequence[tuple[int, bool]], begin: int, end: int) -> bool:
    """Return whether a mask was in view at any time from `begin` to before `end`."""
    before = False
    for at, on in visibility:
        if at <= begin:
            before = on
        elif at < end and on:
            return True
    return before and begin < end


def _resized(sizes: Sequence[tuple[int, tuple[int, int]]], span: Span) -> float | None:
    """Return the milliseconds from a fault's begin to the first frame of a different size."""
    return _since(next((at for at, _ in sizes if span.begin <= at < span.end), None), span.begin)


def _since(at: int | None, begin: int) -> float | None:
    return None if at is None else max(0.0, (at - begin) / 1e6)


def _time(
    ms: float | None, bound_ms: float, name: str, took: list[float], failures: list[str]
) -> None:
    if ms is None:
        failures.append(f"{name} never came")
        return
    took.append(ms)
    if ms > bound_ms:
        failures.append(f"{name} after {ms:.0f} ms, at most {bound_ms:.0f}")


def _worst(values: Sequence[float]) -> float | None:
    return max(values, default=None)
