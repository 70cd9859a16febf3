"""Hands frames and events of the loop to the recorder of a session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.status import ReasonKind
from edge.stills.record import BundleIdentity

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.imaging.view import View
    from edge.inference.supervisor import Supervisor
    from edge.recording.recorder import Recorder
    from edge.sinks.event import Event, EventDetector, EventKind
    from edge.status import Condition, Status
    from edge.telemetry.observer import Telemetry

_log = logging.getLogger(__name__)
_WARNED = ("record-paused", "record-resumed", "record-lost", "record-overdue")
_BEGUN = "record-begun"


class RecordObserver:
    """Records every frame; a context manager that completes the recording.

    A frame from outside the body is recorded as a black picture: it may show a face. A reason why
    frames are not recorded is logged once, until the recording goes on.

    Args:
        recorder: Closed at the end.
        telemetry: The journal.
        detector: Derives the events.
        view: Returns the field of view of the completed frame.
        supervisor: The student that analyzed the frame.
    """

    def __init__(
        self,
        recorder: Recorder,
        telemetry: Telemetry,
        *,
        detector: EventDetector,
        view: Callable[[], View | None],
        supervisor: Supervisor,
    ) -> None:
        self._recorder, self._telemetry = recorder, telemetry
        self._detector, self._view, self._supervisor = detector, view, supervisor
        self._warned: set[str] = set()

    @property
    def counters(self) -> Counter[str]:
        """As of the recorder."""
        return self._recorder.counters

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._happened(self._detector.end())
        try:
            self._recorder.close()
        finally:
            self._tell()

    def conditions(self) -> Iterable[Condition]:
        """Recording never influences the device state."""
        return ()

    def kept(self, kind: EventKind, name: str, frame: int | None) -> None:
        """Note a still or mark."""
        self._happened([self._detector.note(kind, name, frame)])

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Record a frame.

        Raises:
            BusyError: The disk is full, and the source is not live.
            MissingDependencyError: There is no encoder, and the source is not live.
        """
        self._happened(self._detector.status(status))
        if frame is not None and result is not None:
            self._happened(self._detector.frame(frame, result))
            bundle = self._supervisor.bundle
            self._recorder.put(
                frame,
                result,
                self._view(),
                status,
                None if bundle is None else BundleIdentity.of(bundle, self._supervisor.name),
                black=result.reason is not None and result.reason.kind is ReasonKind.OUT_OF_BODY,
            )
        self._tell()

    def _happened(self, events: Iterable[Event]) -> None:
        for event in events:
            self._recorder.happened(event)

    def _tell(self) -> None:
        for event in self._recorder.pop_events():
            self._telemetry.event(event.kind, detail=event.detail)
            if event.kind == _BEGUN:
                _log.info("record: %s", event.detail)
            elif event.kind in _WARNED:
                self._warn(event.kind, event.detail)
        if (failure := self._recorder.failure) is not None:
            self._warn("record-failed", getattr(failure, "what", "") or str(failure))

    def _warn(self, kind: str, detail: str) -> None:
        """Log a kind of event once, until the recording goes on."""
        if kind == "record-resumed":
            self._warned.clear()
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("%s: %s", kind, detail)
