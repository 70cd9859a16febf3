"""A failed source is reopened: reported, with backoff, by its lasting name, and counted."""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.errors import Interruption, SourceError
from edge.sources.base import BaseSource
from edge.sources.latest_frame import NewestFrame
from edge.sources.reconnect import ReopeningSource
from edge.status import Reason, ReasonKind, State
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from edge.frame import Frame, ImageU8


class Flaky(BaseSource):
    """A camera that is pulled out, away for some attempts, and comes back."""

    live = True
    fps = 30.0
    description = "flaky camera"

    def __init__(self, away: list[bool], lasts: int, **timing: Any) -> None:
        super().__init__(**timing)
        self.away, self.lasts = away, lasts

    def _open(self) -> None:
        if self.away and self.away.pop(0):
            raise SourceError("camera is gone", got="no such device")

    def _next(self) -> Frame:
        if self._index >= self.lasts:
            raise SourceError("camera stopped delivering")
        picture: ImageU8 = np.zeros((4, 4, 3), np.uint8)
        return self._frame(picture)

    def _close(self) -> None:
        return


@pytest.mark.row(1, "a source that fails, and is away for five attempts by an injected clock")
@pytest.mark.row(2, "a source that comes back at another attempt")
def test_a_lost_source_is_tried_again_and_goes_on_counting() -> None:
    """A lost source is reported, tried with backoff, and goes on counting."""
    clock = FakeClock(step_ns=1)
    away = [False, True, True, True, True, True, False]
    source = ReopeningSource(lambda _: Flaky(away, 3, clock=clock), clock=clock, sleep=clock.sleep)
    attempts: list[float] = []
    indices: list[int] = []
    reasons: set[tuple[State, str]] = set()
    begin = 0
    with source:
        while len(indices) < 6:
            left = len(away)
            try:
                frame = source.read()
            except Interruption as interruption:
                reasons.add((interruption.state, str(interruption.reason.kind)))
                begin = begin or clock.now
                if len(away) < left:
                    attempts.append((clock.now - begin) / 1e9)
                continue
            assert frame is not None
            indices.append(frame.index)
    assert indices == list(range(6))
    assert reasons == {(State.NO_SIGNAL, "unplugged")}
    assert source.counters["reopened"] == 1
    pauses = [b - a for a, b in pairwise(attempts)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8], abs=0.06)


@pytest.mark.parametrize("again", [False, True])
def test_a_source_closed_while_opening_leaves_nothing_open(again: bool) -> None:
    """A source that is closed while it opens leaves no device open."""
    opening, go = threading.Event(), threading.Event()
    sources: list[BaseSource] = []

    class Slow(Flaky):
        def _open(self) -> None:
            if len(sources) == 3:
                opening.set()
                assert go.wait(5)

    def make(_: str | None) -> BaseSource:
        sources.append(Slow([], 0 if len(sources) < 2 else 1000))
        return sources[-1]

    source = ReopeningSource(make)
    source.__enter__()
    with NewestFrame(source.read) as newest:
        assert opening.wait(5)
        source.close()
        if again:
            source.__enter__()
        go.set()
        newest.close(5)
    late = sources[2]
    with pytest.raises(RuntimeError, match="outside"):
        late.read()
    if again:
        assert source.read() is not None
        source.close()


def test_a_source_that_was_never_there_is_an_error() -> None:
    with pytest.raises(SourceError, match="gone"):
        ReopeningSource(lambda _: Flaky([True], 3)).__enter__()


@pytest.mark.parametrize(
    ("reason", "made_anew"),
    [
        (Reason(ReasonKind.STALLED, "no frame for 1 s"), True),
        (Reason(ReasonKind.NO_SIGNAL, "no input"), False),
    ],
)
def test_a_silence_is_explained_by_the_device_or_examined(reason: Reason, made_anew: bool) -> None:
    """A silence is examined unless the device tells its cause."""
    clock = FakeClock(step_ns=1)
    sources: list[Silent] = []

    class Silent(Flaky):
        def _next(self) -> Frame:
            clock.sleep(0.5)
            raise Interruption(State.NO_SIGNAL, reason)

    def make(_: str | None) -> Silent:
        sources.append(Silent([], 0, clock=clock))
        return sources[-1]

    with ReopeningSource(make, clock=clock, sleep=clock.sleep) as source:
        for _ in range(12):
            with pytest.raises(Interruption, match=str(reason.kind)):
                source.read()
    # One for the description, one at the start, and one each time that two seconds passed.
    assert (len(sources) >= 3) is made_anew


@pytest.mark.row(2, "a source that tells its lasting name, and is asked for by it")
def test_the_same_camera_is_looked_for_by_its_lasting_name() -> None:
    names: list[str | None] = []
    clock = FakeClock(step_ns=1)

    def make(lasting: str | None) -> Flaky:
        names.append(lasting)
        source_made = Flaky([], 2, clock=clock)
        source_made.lasting = "usb-Cart-video-index0"
        return source_made

    with ReopeningSource(make, clock=clock, sleep=clock.sleep) as source:
        frames_read = 0
        while frames_read < 4:
            with suppress(Interruption):
                frames_read += source.read() is not None
    assert names[:2] == [None, None], (
        "the one that was asked for, whose description is shown before it is open"
    )
    assert set(names[2:]) == {"usb-Cart-video-index0"}


def test_only_a_missing_signal_runs_out_of_patience() -> None:
    clock = FakeClock(step_ns=1)
    states = iter([State.DEGRADED, State.NO_SIGNAL, State.NO_SIGNAL])
    sources: list[Flaky] = []

    class Bad(Flaky):
        def _next(self) -> Frame:
            clock.sleep(1.5)
            raise Interruption(next(states), Reason(ReasonKind.CORRUPT, "or silent"))

    def make(_: str | None) -> Bad:
        sources.append(Bad([], 0, clock=clock))
        return Bad([], 0, clock=clock)

    with ReopeningSource(make, clock=clock, sleep=clock.sleep) as source:
        for _ in range(3):
            with pytest.raises(Interruption):
                source.read()
    assert len(sources) == 2, "one and a half seconds without a signal are not two"
