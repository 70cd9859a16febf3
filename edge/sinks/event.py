"""What happens in a run, as events: a region is found, none is shown any more, the state changes.

A frame that nobody judged is no frame on which nothing was found: an event says which of both it
was.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from edge.status import STARTING, State, Status, TextEnum
from edge.util.frame_time import moment_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Frame, Result

LOST_AFTER_NS = 1_000_000_000
"""Time without a shown region after which it counts as lost, so that a flicker is one finding."""


class EventKind(TextEnum):
    """Kinds of events."""

    FOUND = "found"
    """A region is shown, and none was before."""
    LOST = "lost"
    """No region has been shown for `LOST_AFTER_NS`, or the run has ended."""
    STATE = "state"
    """The state of the device, or the kind of its reason, changed."""
    STILL = "still"
    """A still was kept; in recordings only."""
    MARK = "mark"
    """A person marked a frame; in recordings only."""


class RegionEvent(msgspec.Struct, frozen=True):
    """A region: box (x, y, width, height) in frame pixels, highest score, share of the part."""

    box: tuple[int, int, int, int]
    score: float
    area: float


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event; contains no picture.

    Attributes:
        event: Its kind.
        number: Counts the events of a run from 1; a gap is an event that its reader was too slow
            for.
        time_ns: When it happened. CLOCK_MONOTONIC nanoseconds of a live source, time in the clip
            of any other.
        state: State of the device.
        reason: Why a state holds, or why a region is lost without having been looked for; left out
            if there is no reason.
        frame: Number of the frame: the first one with the region, or the last one; left out if
            the event is of no frame.
        shown_ns: Of a lost region: when it was last shown, as `time_ns`.
        regions: What is shown on this frame; left out if nothing is.
        name: Name of the still or mark.
    """

    event: EventKind
    number: int
    time_ns: int
    state: str
    reason: str = ""
    frame: int | None = None
    shown_ns: int | None = None
    regions: tuple[RegionEvent, ...] = ()
    name: str = ""


class EventDetector:
    """Derives events from statuses and results; not thread-safe.

    Args:
        fps: None for a live source, whose events are dated by `clock`; for a clip its frame rate,
            which dates its frames (`moment_ns`).
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        number: Number of events so far.
        found: Whether a region counts as shown.
    """

    def __init__(
        self, fps: float | None = None, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.number, self.found = 0, False
        self._fps, self._clock = fps, clock
        self._status = Status(State.BOOT, STARTING, 0)
        self._told = False
        self._clip_ns = self._shown_ns = 0
        self._frame: int | None = None
        self._regions: tuple[RegionEvent, ...] = ()

    @property
    def now_ns(self) -> int:
        """The time as in `Event.time_ns`; of a clip, the time of its last frame."""
        return self._clock() if self._fps is None else self._clip_ns

    def status(self, status: Status) -> list[Event]:
        """Receive the status of the device, before each frame and while there is none."""
        before, self._status = self._status, status
        events = []
        if not self._told or (before.state, before.kind) != (status.state, status.kind):
            self._told = True
            events.append(self._make(EventKind.STATE, self.now_ns, status.text))
        if self._fps is None and self.now_ns - self._shown_ns >= LOST_AFTER_NS:
            events += self._lose(status.text)
        return events

    def frame(self, frame: Frame, result: Result) -> list[Event]:
        """Receive a frame with its result."""
        moment = self._clip_ns = moment_ns(frame, self._fps)
        if result.reason is not None or not result.regions:
            lost = moment - self._shown_ns >= LOST_AFTER_NS
            return self._lose("" if result.reason is None else str(result.reason)) if lost else []
        self._shown_ns, self._frame = moment, frame.index
        self._regions = tuple(
            RegionEvent(region.box, round(region.score, 4), round(region.area, 6))
            for region in result.regions
        )
        if self.found:
            return []
        self.found = True
        event = self._make(EventKind.FOUND, moment, frame=frame.index)
        return [msgspec.structs.replace(event, regions=self._regions)]

    def end(self) -> list[Event]:
        """Receive that the run has ended."""
        return self._lose("the run has ended")

    def note(self, kind: EventKind, name: str, frame: int | None) -> Event:
        """Return the event of a still or mark."""
        return self._make(kind, self.now_ns, frame=frame, name=name)

    def _lose(self, why: str) -> list[Event]:
        if not self.found:
            return []
        self.found = False
        event = self._make(EventKind.LOST, self.now_ns, why)
        event = msgspec.structs.replace(
            event, frame=self._frame, shown_ns=self._shown_ns, regions=self._regions
        )
        return [event]

    def _make(
        self,
        kind: EventKind,
        moment: int,
        reason: str = "",
        *,
        frame: int | None = None,
        name: str = "",
    ) -> Event:
        self.number += 1
        return Event(
            event=kind,
            number=self.number,
            time_ns=moment,
            state=self._status.state.value,
            reason=reason,
            frame=frame,
            name=name,
        )
