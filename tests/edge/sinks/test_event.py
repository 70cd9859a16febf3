"""Events of a run: what is a finding, when it is over, and that not judged is not lost at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.sinks.event import LOST_AFTER_NS, Event, EventDetector, EventKind
from edge.status import Reason, ReasonKind, State, Status
from tests.support.recordings import NONE, seen
from tests.support.stills import RUNNING, frame

MS = 1_000_000
BLACK = replace(NONE, reason=Reason(ReasonKind.BLACK))
PAUSED = Status(State.PAUSED, Reason(ReasonKind.BLACK), 5)


class Rig:
    """A detector of a live source with its clock."""

    def __init__(self) -> None:
        self.now = 1_000 * MS
        self.detector = EventDetector(clock=lambda: self.now)
        self.detector.status(RUNNING)

    def see(self, ms: int, result: object = NONE, status: Status = RUNNING) -> list[Event]:
        self.now += ms * MS
        told = self.detector.status(status)
        taken = replace(frame(index=self.now // MS), captured_ns=self.now)
        return told + self.detector.frame(taken, result)  # type: ignore[arg-type] # a result

    def wait(self, ms: int, status: Status = RUNNING) -> list[Event]:
        self.now += ms * MS
        return self.detector.status(status)


def test_a_finding_begins_with_its_first_frame_and_is_told_once() -> None:
    rig = Rig()
    assert rig.see(40) == []
    (found,) = rig.see(40, seen())
    assert (found.event, found.frame, found.time_ns) == (EventKind.FOUND, 1080, 1_080 * MS)
    assert found.regions[0].box == (40, 20, 16, 16)
    assert [rig.see(40, seen()) for _ in range(3)] == [[], [], []]


def test_a_flicker_is_one_finding() -> None:
    rig = Rig()
    rig.see(40, seen())
    assert rig.see(900) == []
    assert rig.see(40, seen()) == []
    assert rig.see(999) == []
    (lost,) = rig.see(1)
    assert (lost.event, lost.shown_ns, lost.frame) == (EventKind.LOST, 1_980 * MS, 1980)
    assert lost.time_ns - (lost.shown_ns or 0) == LOST_AFTER_NS
    assert lost.reason == "", "somebody looked"
    assert rig.see(5000) == []
    assert [one.event for one in rig.see(40, seen())] == [EventKind.FOUND]


def test_a_region_that_nobody_looked_for_is_lost_with_the_reason() -> None:
    rig = Rig()
    rig.see(40, seen())
    (state,) = rig.see(500, BLACK, PAUSED)
    assert (state.event, state.state, state.reason) == (EventKind.STATE, "paused", "black")
    (lost,) = rig.see(600, BLACK, PAUSED)
    assert (lost.event, lost.reason) == (EventKind.LOST, "black")


def test_without_frames_a_region_is_lost_too() -> None:
    rig = Rig()
    rig.see(40, seen())
    gone = Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED), 9)
    assert [one.event for one in rig.wait(50, gone)] == [EventKind.STATE]
    (lost,) = rig.wait(1000, gone)
    assert (lost.event, lost.reason, lost.state) == (EventKind.LOST, "unplugged", "no-signal")


def test_states_are_told_by_state_and_kind_of_reason() -> None:
    rig = Rig()
    same = Status(State.PAUSED, Reason(ReasonKind.BLACK, "darker"), 6)
    assert len(rig.wait(50, PAUSED)) == 1
    assert rig.wait(50, same) == []
    assert [one.number for one in rig.wait(50)] == [3]


def test_the_end_of_a_run_loses_what_is_shown() -> None:
    rig = Rig()
    assert rig.detector.end() == []
    rig.see(40, seen())
    (lost,) = rig.detector.end()
    assert (lost.event, lost.reason) == (EventKind.LOST, "the run has ended")
    assert rig.detector.end() == []


@pytest.mark.parametrize(("clip_ms", "expected"), [(None, 80 * MS), (95, 95 * MS)])
def test_events_of_a_clip_have_its_times(clip_ms: int | None, expected: int) -> None:
    detector = EventDetector(25.0, clock=lambda: 1 / 0)  # type: ignore[arg-type, return-value] # unused
    (state,) = detector.status(RUNNING)
    assert state.time_ns == 0
    taken = replace(frame(index=2), clip_ns=None if clip_ms is None else clip_ms * MS)
    (found,) = detector.frame(taken, seen())
    assert found.time_ns == expected
