"""What happens in a run, as events: a region is found, none is shown any more, the state changes.

A frame that nobody judged is no frame on which nothing was found: an event says which of both it
was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.status import TextEnum

if TYPE_CHECKING:
    from edge.frame import Frame, Result
    from edge.status import Status

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
        regions: What is shown on this frame; left out if nothing is.
        name: Name of the still or mark.
    """

    event: EventKind
    number: int
    time_ns: int
    state: str
    reason: str = ""
    frame: int | None = None
    regions: tuple[RegionEvent, ...] = ()
    name: str = ""


class EventDetector:
    """Derives events from statuses and results; not thread-safe.

    Attributes:
        number: Number of events so far.
        found: Whether a region counts as shown.
    """

    def __init__(self) -> None:
        self.number, self.found = 0, False
        self._status: Status | None = None
        self._shown_ns, self._frame = 0, -1
        self._regions: tuple[RegionEvent, ...] = ()

    def status(self, status: Status, now: int) -> list[Event]:
        """Receive the status of the device.

        Args:
            status: The status.
            now: The time, as in `Event.time_ns`.
        """
        before, self._status = self._status, status
        if before is not None and (before.state, before.kind) == (status.state, status.kind):
            return []
        return [self._make(EventKind.STATE, now, status, status.text)]

    def frame(self, frame: Frame, result: Result, status: Status) -> list[Event]:
        """Receive a frame with its result."""
        now = frame_time(frame)
        if result.reason is not None or not result.regions:
            return self.idle(now, status, "" if result.reason is None else str(result.reason))
        self._shown_ns, self._frame = now, frame.index
        self._regions = tuple(
            RegionEvent(region.box, round(region.score, 4), round(region.area, 6))
            for region in result.regions
        )
        if self.found:
            return []
        self.found = True
        return [
            self._make(
                EventKind.FOUND, now, status, frame=frame.index, regions=self._regions
            )
        ]

    def idle(self, now: int, status: Status, why: str | None = None) -> list[Event]:
        """Receive that no region is shown at the moment.

        Args:
            now: The time, as in `Event.time_ns`.
            status: The status.
            why: Why nobody judged the frame; empty if somebody did, None if there is no frame.
        """
        if not self.found or now - self._shown_ns < LOST_AFTER_NS:
            return []
        return self._lose(now, status, status.text if why is None else why)

    def end(self, now: int, status: Status) -> list[Event]:
        """Receive that the run has ended."""
        return self._lose(now, status, "the run has ended") if self.found else []

    def note(
        self, kind: EventKind, now: int, status: Status, name: str, frame: int | None
    ) -> Event:
        """Return the event of a still or mark."""
        return self._make(kind, now, status, frame=frame, name=name)

    def _lose(self, now: int, status: Status, why: str) -> list[Event]:
        self.found = False
        return [
            self._make(
                EventKind.LOST, now, status, why, frame=self._frame, regions=self._regions
            )
        ]

    def _make(
        self,
        kind: EventKind,
        now: int,
        status: Status,
        reason: str = "",
        *,
        frame: int | None = None,
        regions: tuple[RegionEvent, ...] = (),
        name: str = "",
    ) -> Event:
        self.number += 1
        return Event(
            event=kind,
            number=self.number,
            time_ns=now,
            state=status.state.value,
            reason=reason,
            frame=frame,
            regions=regions,
            name=name,
        )


def frame_time(frame: Frame) -> int:
    """Return the time of a frame: in its clip, or of its capture, nanoseconds."""
    return frame.captured_ns if frame.clip_ns is None else frame.clip_ns
