"""The status line and the lines of changes that `run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.frame import Frame, Region, Result, Stage
from edge.status import Reason, ReasonKind, State, Status
from edge_difom.cli import console
from edge_difom.cli.live_status import EVERY_NS, LiveStatus
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    import pytest

RUNNING = Status(State.RUNNING, None, 0)
LATE = Reason(ReasonKind.LATE, "no scores within 86 ms")
FOUND = Result(None, (Region((1, 2, 3, 4), ((1, 2), (3, 2)), 0.1, 0.9),), 0.1, None)


def frame(at: int) -> Frame:
    stamps = {Stage.CAPTURE: (at, at + 21_000_000)}
    return Frame(0, np.zeros((4, 4, 3), np.uint8), at, stamps)


def test_one_line_a_second_tells_rate_age_state_and_finds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line a second tells rate, age, state and what was found."""
    clock = FakeClock(start_ns=0)
    status = LiveStatus(changes=False, line=True, clock=clock)
    for number in range(1, 31):
        clock.now = number * EVERY_NS // 30
        status.progress(RUNNING, frame(clock.now), FOUND)
    assert capsys.readouterr().err.split("\x1b[K")[1:] == ["30/s  age 21 ms  running  found 1"]
    console.say("a line")
    assert capsys.readouterr().err == "\r\x1b[K", "the next line takes its place"


def test_a_frame_that_nobody_judged_is_a_dash_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A frame that nobody judged is shown as a dash and its reason."""
    clock = FakeClock(start_ns=0)
    status = LiveStatus(changes=False, line=True, clock=clock)
    clock.now = EVERY_NS
    status.progress(RUNNING, frame(clock.now), Result(None, (), 0.0, LATE))
    err = capsys.readouterr().err
    assert "running (late: no scores within 86 ms)  found -" in err
    clock.now += 3 * EVERY_NS
    status.progress(RUNNING, None, None)
    assert "0/s  age -  running  found -" in capsys.readouterr().err, "nothing old is told"
    console.say()


def test_a_box_without_a_mask_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock(start_ns=0)
    status = LiveStatus(changes=False, line=True, clock=clock)
    clock.now = EVERY_NS
    boxed = Result(None, (), 0.0, None, boxes=FOUND.regions)
    status.progress(RUNNING, frame(clock.now), boxed)
    assert "running  found 0 and 1 as a box" in capsys.readouterr().err
    console.say()


def test_changes_are_lines_and_details_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    status = LiveStatus(changes=True, line=False)
    for one in (
        RUNNING,
        Status(State.DEGRADED, LATE, 0),
        Status(State.DEGRADED, Reason(ReasonKind.LATE, "other words"), 0),
        RUNNING,
    ):
        status.progress(one, None, None)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "state: running",
        f"state: degraded, {LATE}",
        "state: running",
    ]
    assert captured.err == ""


def test_no_status_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock(start_ns=0)
    status = LiveStatus(changes=False, clock=clock)
    clock.now = 5 * EVERY_NS
    status.progress(RUNNING, frame(clock.now), FOUND)
    assert capsys.readouterr().err == ""
