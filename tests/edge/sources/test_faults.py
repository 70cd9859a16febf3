"""Scheduled faults: the phantom's output during them, and the device's response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import Interruption, UsageError
from edge.pipeline.frame_guard import FrameGuard
from edge.sources.faults import FAULTS, Fault, Timetable, read_faults
from edge.sources.open import open_source
from edge.sources.synthetic import SyntheticSource
from edge.status import State
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from edge.frame import Frame


def phantom(text: str, **changes: Any) -> SyntheticSource:
    clock = FakeClock()
    settings = {"width": 320, "height": 240, "fps": 10.0, "frames": 40} | changes
    return SyntheticSource(
        **settings, faults=Timetable(read_faults(text)), clock=clock, sleep=clock.sleep
    )


def watch(source: SyntheticSource) -> tuple[list[Frame], list[str]]:
    """Frames, and what came in the place of others."""
    frames: list[Frame] = []
    others: list[str] = []
    with source:
        while True:
            try:
                frame = source.read()
            except TimeoutError:
                others.append("timeout")
                continue
            except Interruption as interruption:
                others.append(interruption.state.value)
                continue
            if frame is None:
                return frames, others
            frames.append(frame)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("stall", State.NO_SIGNAL.value),
        ("unplug", State.NO_SIGNAL.value),
        ("corrupt", State.DEGRADED.value),
    ],
)
def test_frames_that_are_not_given_leave_a_gap(kind: str, other: str) -> None:
    source = phantom(f"{kind}@1-2")
    frames, others = watch(source)
    assert [frame.index for frame in frames] == [*range(10), *range(20, 40)]
    assert len(others) == 10
    # Of a stall nothing is known before three frame periods have passed.
    assert others[3:] == [other] * 7
    assert set(others[:3]) <= {other, "timeout"}
    assert source.counters["gaps"] == 10
    assert source.counters["corrupt"] == (10 if kind == "corrupt" else 0)


def test_dropped_frames_are_three_of_four() -> None:
    frames, _ = watch(phantom("drop@1-2"))
    assert [frame.index for frame in frames if 10 <= frame.index < 20] == [12, 16]


@pytest.mark.parametrize("kind", ["black", "overexposed", "blur", "fov", "text", "freeze"])
def test_pictures_change_for_as_long_as_the_fault_lasts(kind: str) -> None:
    spoilt, _ = watch(phantom(f"{kind}@1-2"))
    sound, _ = watch(phantom(""))
    differing = [a.index for a, b in zip(spoilt, sound, strict=True) if (a.image != b.image).any()]
    assert differing == list(range(11 if kind == "freeze" else 10, 20))


def test_another_format_has_another_size() -> None:
    frames, _ = watch(phantom("format@1-2"))
    assert {frame.image.shape for frame in frames[10:20]} == {(120, 160, 3)}
    assert {frame.image.shape for frame in frames[:10]} == {(240, 320, 3)}


@pytest.mark.row(8, "the phantom's black frames")
@pytest.mark.row(9, "the phantom's over-exposed frames")
@pytest.mark.row(10, "the phantom's frozen frames")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("black", "black"), ("overexposed", "light"), ("blur", "blurred"), ("freeze", "freeze")],
)
def test_the_guard_tells_the_fault_and_its_end(fault: str, kind: str) -> None:
    frames, _ = watch(phantom(f"{fault}@1-2.5", frames=40, fps=10.0))
    guard = FrameGuard()
    kinds = [str(guard.judge(frame).kind or "") for frame in frames]
    assert kinds[:10] == [""] * 10
    assert kind in kinds[10:26]
    assert set(kinds) == {"", kind}
    assert kinds[-5:] == [""] * 5


@given(
    st.lists(st.tuples(st.sampled_from(FAULTS), st.floats(0, 50), st.floats(0.1, 5)), max_size=5)
)
def test_a_timetable_reads_what_is_written(faults: list[tuple[str, float, float]]) -> None:
    expected = tuple(
        Fault(kind, round(begin, 3), round(begin, 3) + round(length, 3))
        for kind, begin, length in faults
    )
    text = ",".join(f"{fault.kind}@{fault.begin_s}-{fault.end_s}" for fault in expected)
    assert read_faults(text) == expected


def test_every_fault_has_its_turn() -> None:
    timetable = Timetable(every_s=4.0, length_s=0.5)
    planned = timetable.until(4.0 * len(FAULTS) + 1)
    assert [fault.kind for fault in planned] == list(FAULTS)
    for fault in planned:
        assert timetable.at(fault.begin_s) == timetable.at(fault.end_s - 0.01) == fault.kind
        assert timetable.at(fault.end_s) == timetable.at(fault.begin_s - 0.01) == ""


@pytest.mark.parametrize(
    "text", ["fault=smoke@1-2", "fault=black@2-1", "fault=black", "every=0", "length=x"]
)
def test_a_timetable_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        open_source(f"synthetic:?{text}")


def test_the_command_line_s_text_reaches_the_source() -> None:
    source = open_source("synthetic:?fault=black@1-2,freeze@3-4.5&every=9&length=0.4")
    assert isinstance(source, SyntheticSource)
    assert source.faults.at(3.2) == "freeze"
    assert source.faults.at(9.1) == FAULTS[0]
    assert np.isclose(source.faults.until(10)[-1].end_s, 9.4)
