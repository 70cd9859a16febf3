"""Keeps the frame that a person marks: by pedal, by signal, or on the live page.

A person needs about a second to react, and a false alarm may be over by then. The newest frame on
which a region was shown is therefore remembered, for `REACTION_NS`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from edge.contracts import MarkKind, MarkOutcome
from edge.stills.record import BundleIdentity, Mark

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, OperatingPoint, Result
    from edge.imaging.view import View
    from edge.inference.supervisor import Supervisor
    from edge.status import Condition, Status
    from edge.stills.keeper import StillKeeper
    from edge.telemetry.observer import Telemetry

REACTION_NS = 2_000_000_000
"""Age up to which a frame with a region is the one that a mark means."""

REMEMBER_NS = 200_000_000
"""Minimum time between two frames that are remembered."""

PATIENCE_NS = 1_000_000_000
"""Longest wait for a frame after a mark."""

EXPIRE_NS = 3_600_000_000_000
"""Time between two searches for marks that are too old."""

_log = logging.getLogger(__name__)


class _Sighting(NamedTuple):
    """A frame and everything that a mark on it keeps."""

    frame: Frame
    result: Result
    view: View | None
    status: Status
    identity: BundleIdentity | None
    point: OperatingPoint | None


class MarkObserver:
    """Hands the frame that a mark means to a keeper; a `MarkDesk` and a context manager.

    Nothing is kept, in memory or on a disk, unless the caller makes this observer. Several marks
    before a frame are one. A reason for which no mark can be kept is logged once, until one is
    kept again.

    Args:
        keeper: Keeps the marks; closed at the end.
        telemetry: The journal.
        asked: Asks for a mark without a kind when set; cleared here.
        source: Source of the frames, without credentials.
        view: Returns the field of view of the completed frame.
        supervisor: The student that analyzed the frame.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        counters: `kept`, `refused`, `expired`, `overdue` (an old mark could not be removed) and
            `repeated` (a frame was marked again).
        last: What became of the last mark.
    """

    def __init__(
        self,
        keeper: StillKeeper,
        telemetry: Telemetry,
        *,
        requested: threading.Event,
        source: str,
        view: Callable[[], View | None],
        supervisor: Supervisor,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._keeper, self._telemetry, self._requested = keeper, telemetry, requested
        self._source, self._view, self._supervisor = source, view, supervisor
        self._clock = clock
        self._requests: deque[tuple[MarkKind | None, str]] = deque(maxlen=4)
        self._waiting: tuple[MarkKind | None, str] | None = None
        self._until_ns = 0
        self._expire_ns = clock() + EXPIRE_NS
        self._alarm: _Sighting | None = None
        self._warned: set[str] = set()
        self._marked: tuple[int, MarkKind] | None = None
        self.counters: Counter[str] = Counter(kept=0, refused=0, expired=0, overdue=0, repeated=0)
        self.last = MarkOutcome(0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._alarm = None
        if self._waiting is not None or self._requests or self._requested.is_set():
            self._keeper.refuse("the run ended before a frame came")
        try:
            self._keeper.close()
        finally:
            self._report_outcomes()

    def conditions(self) -> Iterable[Condition]:
        """Marks never influence the device state."""
        return ()

    def ask(self, kind: MarkKind | None, by: str) -> None:
        """Ask for a mark; any thread may call it.

        Args:
            kind: What is wrong; None if the frame decides.
            by: Who asks, such as `pedal 2`.
        """
        self._requests.append((kind, by))

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Keep the frame that was marked; refuse the mark after a long wait."""
        now = self._clock()
        if self._requested.is_set():
            self._requested.clear()
            self.ask(None, "signal")
        while self._requests:
            self._waiting, self._until_ns = self._requests.popleft(), now + PATIENCE_NS
        if self._alarm is not None and now - self._alarm.frame.captured_ns > REACTION_NS:
            self._alarm = None
        sighting = None
        if frame is not None and result is not None:
            sighting = self._sight(status, frame, result)
            self._remember(sighting)
        if self._waiting is not None:
            self._serve(*self._waiting, sighting, status, now)
        if now >= self._expire_ns:
            self._expire_ns = now + EXPIRE_NS
            self._keeper.expire()
        self._report_outcomes()

    def _sight(self, status: Status, frame: Frame, result: Result) -> _Sighting:
        bundle = self._supervisor.bundle
        identity = None if bundle is None else BundleIdentity.of(bundle, self._supervisor.name)
        point = None if bundle is None else bundle.manifest.output.point
        return _Sighting(frame, result, self._view(), status, identity, point)

    def _remember(self, sighting: _Sighting) -> None:
        """Copy a frame on which a region is shown: source and student use their memory again."""
        if not sighting.result.regions:
            return
        if self._alarm is not None:
            since = sighting.frame.captured_ns - self._alarm.frame.captured_ns
            if 0 <= since < REMEMBER_NS:
                return
        scores = sighting.result.scores
        self._alarm = sighting._replace(
            frame=replace(sighting.frame, image=sighting.frame.image.copy(), stamps={}),
            result=replace(sighting.result, scores=None if scores is None else scores.copy()),
        )

    def _serve(
        self, kind: MarkKind | None, by: str, newest: _Sighting | None, status: Status, now: int
    ) -> None:
        alarm = self._alarm
        if kind is None and (alarm is not None or newest is not None):
            kind = MarkKind.MISSED if alarm is None else MarkKind.FALSE_ALARM
        chosen = alarm if kind is MarkKind.FALSE_ALARM and alarm is not None else newest
        if kind is not None and chosen is not None:
            self._keep(kind, by, chosen, now)
        elif now >= self._until_ns:
            self._keeper.refuse(f"no frame: {status.text or status.state.value}")
        else:
            return
        self._waiting = None

    def _keep(self, kind: MarkKind, by: str, sighting: _Sighting, now: int) -> None:
        frame = sighting.frame
        if self._marked == (frame.index, kind):
            self._count("repeated", f"frame {frame.index} is kept already")
            return
        self._marked = frame.index, kind
        mark = Mark(
            kind=kind,
            source=self._source,
            clip_ms=None if frame.clip_ns is None else frame.clip_ns / 1e6,
            delay_ms=round((now - frame.captured_ns) / 1e6, 1),
            bundle=sighting.identity,
        )
        self._keeper.keep(
            frame,
            sighting.result,
            sighting.view,
            sighting.status,
            sighting.identity,
            asked_by=by,
            mark=mark,
            point=sighting.point,
        )

    def _report_outcomes(self) -> None:
        for event in self._keeper.pop_events():
            self._telemetry.event(
                event.kind, detail=event.detail, frame=event.frame, mask=event.mask
            )
            outcome = event.kind.partition("-")[2] or "kept"
            if outcome == "kept":
                self._warned.clear()
                self._count(outcome, f"kept {event.detail}")
            elif outcome == "refused":
                self._marked = None
                self._count(outcome, f"not kept: {event.detail}")
                self._warn(f"a mark was not kept: {event.detail}")
            else:
                self.counters[outcome] += 1
                if outcome == "overdue":
                    self._warn(f"an old mark cannot be removed: {event.detail}")

    def _warn(self, text: str) -> None:
        """Log a reason once; figures at its end change, what stands before them does not."""
        kind = text.rpartition(":")[0]
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("%s", text)

    def _count(self, outcome: str, text: str) -> None:
        self.counters[outcome] += 1
        self.last = MarkOutcome(self.last.number + 1, text)
