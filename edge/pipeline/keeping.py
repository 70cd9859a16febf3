"""What a run keeps for people: stills, marks and a recording, each only if a folder was named."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from edge.contracts import PedalEvent, TakesMarks
from edge.errors import UsageError
from edge.pipeline.marks import MarkObserver
from edge.pipeline.record import RecordObserver
from edge.pipeline.stills import StillObserver
from edge.recording.folder import RECORD_DAYS, RECORD_GB, Retention
from edge.recording.recorder import Recorder
from edge.sinks.event import EventDetector, EventKind
from edge.stills.folder import MARK
from edge.stills.keeper import MARK_DAYS, KeptRun, StillKeeper
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from edge.contracts import Sink
    from edge.imaging.view import View
    from edge.inference.supervisor import Supervisor
    from edge.pipeline.frame_guard import FrameGuard
    from edge.sources.base import BaseSource
    from edge.telemetry.observer import Telemetry

MARK_PEDAL = PedalEvent(2, pressed=True).name
"""The pedal that marks a frame."""


@dataclass(frozen=True, kw_only=True)
class KeepOptions:
    """What is kept.

    Attributes:
        stills: Folder for stills that a pedal or an event requests; None keeps no stills.
        marks: Folder for frames that a person marks as false alarms or missed; None keeps none.
        marks_days: Age at which a mark is removed, days.
        record: Folder for a recording of the session; None records nothing.
        record_days: Age at which segments and clips of recordings are removed, days.
        record_gb: Size of all recordings in the folder above which the oldest are removed,
            gigabytes.
        pseudonym: What the examination is called; runs of one pseudonym share a DICOM study. Empty
            for a random one.
    """

    stills: Path | None = None
    marks: Path | None = None
    marks_days: float = MARK_DAYS
    record: Path | None = None
    record_days: float = RECORD_DAYS
    record_gb: float = RECORD_GB
    pseudonym: str = ""


class Requests(NamedTuple):
    """Events that ask for pictures when set.

    Attributes:
        still: Asks for a still.
        mark: Marks the frame that was just seen.
    """

    still: threading.Event | None = None
    mark: threading.Event | None = None


class Keepers(NamedTuple):
    """Observers of the loop; None for what is not kept."""

    stills: StillObserver | None
    marks: MarkObserver | None
    record: RecordObserver | None

    def observers(self) -> list[StillObserver | MarkObserver | RecordObserver]:
        """Those that there are; the recording comes last, and notes what the others kept."""
        return [keeper for keeper in self if keeper is not None]

    def pedals(self) -> Callable[[str], None] | None:
        """What a pressed pedal asks for; None if nothing.

        `MARK_PEDAL` asks for a mark, where marks are kept, every other pedal for a still.
        """
        stills, marks = self.stills, self.marks
        if marks is None:
            return None if stills is None else stills.ask

        def pressed(pedal: str) -> None:
            if pedal == MARK_PEDAL:
                marks.ask(None, pedal)
            elif stills is not None:
                stills.ask(pedal)

        return pressed


def open_keepers(
    stack: ExitStack,
    options: KeepOptions,
    *,
    source: BaseSource,
    sinks: Sequence[Sink],
    guard: FrameGuard | None,
    supervisor: Supervisor,
    telemetry: Telemetry,
    requests: Requests,
    fps: float | None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> Keepers:
    """Open what the options name; everything is completed when the stack ends.

    Args:
        stack: Closes the keepers.
        options: What is kept.
        source: Source of the frames.
        sinks: Outputs; those at which people can mark frames are told where.
        guard: Finds the field of view.
        supervisor: The student.
        telemetry: The journal.
        requests: Ask for stills and marks.
        fps: Frame rate of a clip; None for a live source.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: Something cannot be kept.
    """
    run = KeptRun.new(options.pseudonym)
    stills: StillObserver | None = None
    marks: MarkObserver | None = None
    record: RecordObserver | None = None
    if options.record is not None:
        view = _view(guard, "recordings")  # before a folder is claimed
        record = stack.enter_context(
            RecordObserver(
                Recorder(
                    options.record,
                    fps=source.fps,
                    live=source.live,
                    run=run,
                    retention=Retention(options.record_days, round(options.record_gb * 1e9)),
                    clock=clock,
                ),
                telemetry,
                detector=EventDetector(fps, clock=clock),
                view=view,
                supervisor=supervisor,
            )
        )
    if options.stills is not None:
        view = _view(guard, "stills")  # before a folder is claimed
        stills = stack.enter_context(
            StillObserver(
                StillKeeper(options.stills, run=run),
                telemetry,
                requested=requests.still or threading.Event(),
                view=view,
                supervisor=supervisor,
                clock=clock,
                on_kept=_noted(record, EventKind.STILL),
            )
        )
    if options.marks is not None:
        view = _view(guard, "marks")  # before a folder is claimed
        marks = stack.enter_context(
            MarkObserver(
                StillKeeper(options.marks, word=MARK, max_days=options.marks_days, run=run),
                telemetry,
                requested=requests.mark or threading.Event(),
                source=redact(source.description),
                view=view,
                supervisor=supervisor,
                clock=clock,
                on_kept=_noted(record, EventKind.MARK),
            )
        )
        for sink in sinks:
            if isinstance(sink, TakesMarks):
                sink.offer_marks(marks)
    return Keepers(stills, marks, record)


def _view(guard: FrameGuard | None, what: str) -> Callable[[], View | None]:
    """The field of view, which the guard finds."""
    if guard is None:
        raise UsageError(
            f"{what} need the field of view, outside of which they are made black",
            expected="frames of a camera or clip, with the guard that finds it",
            hint="enable the guard and use a camera or clip",
            code="stills-need-guard",
        )
    return lambda: guard.view


def _noted(
    record: RecordObserver | None, kind: EventKind
) -> Callable[[str, int | None], None] | None:
    """Where stills or marks that were kept are noted; None if nothing is recorded."""
    return None if record is None else partial(record.kept, kind)
