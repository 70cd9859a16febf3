"""Records the frames of a run as a session; the frame loop never waits for the disk.

A thread makes the pictures black outside the field of view and encodes them; `SessionKeeper` does
everything else.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge import __version__
from edge.errors import DataError, EdgeDifomError
from edge.frame import DEFAULT_FPS
from edge.imaging.buffer_pool import BufferPool
from edge.imaging.view import black_outside
from edge.recording.folder import WORD, Retention
from edge.recording.keeper import SessionKeeper
from edge.recording.part import PartWriter
from edge.recording.record import (
    SESSION,
    Gap,
    Happened,
    SessionRecord,
    session_line,
)
from edge.stills.folder import DATE, claim
from edge.stills.keeper import KeptRun
from edge.stills.still import now
from edge.util.background import Background
from edge.util.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    RESERVE_BYTES,
    flush_to_disk,
    full_disk,
    write_json,
)
from edge.util.frame_time import moment_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.frame import Frame, ImageU8, Result
    from edge.imaging.view import View
    from edge.recording.keeper import RecordEvent
    from edge.recording.record import SessionLine
    from edge.sinks.event import Event
    from edge.status import Status
    from edge.stills.record import BundleIdentity

SEGMENT_S = 20.0
"""Length of a segment, seconds: what a power cut takes at most."""

RETRY_S = 5.0
"""Pause after a segment that could not be written, seconds."""

_CAPACITY = 8
_CLOSE_S = 1.0
_CUT_S = 1.7
_CHECK_S = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Item:
    """A frame that waits; without a picture it is black."""

    picture: ImageU8 | None
    shape: tuple[int, int]
    line: SessionLine
    view: View | None
    bundle: BundleIdentity | None


class Recorder:
    """Records frames and events in a folder of sessions.

    Args:
        folder: Folder with private permissions; created if it is missing.
        fps: Frames per second of the source; None if it does not know them.
        live: Whether frames arrive at their own pace: a frame is then dropped and counted if the
            encoder is too slow or the disk is full; otherwise `put` waits, and fails.
        run: The run, as of its stills and marks; None for a new one.
        retention: What the folder keeps.
        segment_s: Length of a segment, seconds.
        date: Returns the date and time for the name and the ages.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        session: Folder of the session.

    Raises:
        UsageError: The folder cannot be created, others may enter it, or a different run uses it.
        OSError: The session cannot be created.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fps: float | None,
        live: bool,
        run: KeptRun | None = None,
        retention: Retention | None = None,
        segment_s: float = SEGMENT_S,
        date: Callable[[], datetime] = now,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        run = run or KeptRun.new()
        self.folder, self._live = folder, live
        self._rate = None if live else fps or DEFAULT_FPS
        self._segment_ms = segment_s * 1000
        self._origin_ns = clock() if live else 0
        self._owned: int | None = claim(folder, WORD)
        began = date()
        self._record = SessionRecord(
            version=__version__,
            pseudonym=run.pseudonym,
            run=run.token,
            study_uid=run.study_uid,
            began=began.isoformat(timespec="milliseconds"),
            live=live,
            origin_ns=self._origin_ns,
            fps=fps or DEFAULT_FPS,
        )
        self.session = folder / f"{WORD}-{began:{DATE}}-{run.token}"
        try:
            self.session.mkdir(mode=PRIVATE_FOLDER)
            write_json(self.session / SESSION, self._record, mode=PRIVATE_FILE)
            for path in (self.session, folder, folder.absolute().parent):
                flush_to_disk(path)
        except BaseException:
            self._let_go()
            raise
        self._memory = BufferPool()
        self._part: PartWriter | None = None
        self._number = self._dropped = 0
        self._checked_s = self._retry_s = -math.inf
        self._full = False
        self._codec: str | None = None
        self._error: EdgeDifomError | None = None
        self._keeper = SessionKeeper(
            folder, self.session, live=live, retention=retention or Retention(), date=date
        )
        self._queue: Background[_Item] = Background(
            self._encode,
            capacity=_CAPACITY,
            when_full="newest" if live else "wait",
            name="record encoder",
        )
        self._keeper.tell("record-begun", f"{self.session.name} as {self._record.pseudonym}")

    @property
    def counters(self) -> Counter[str]:
        """`dropped` frames, `segments`, `clips`, `lost` segments, `removed` segments and clips."""
        dropped = self._dropped + self._queue.dropped
        return Counter({"dropped": dropped, **self._keeper.counters})

    @property
    def failure(self) -> Exception | None:
        """Why nothing is recorded any more; None if that is not so."""
        return self._error or self._queue.error or self._keeper.error

    def put(
        self,
        frame: Frame,
        result: Result,
        view: View | None,
        status: Status,
        bundle: BundleIdentity | None,
        *,
        black: bool = False,
    ) -> None:
        """Queue a frame; the image is copied.

        Args:
            frame: The frame as captured.
            result: The result of this frame.
            view: The field of view of this frame; if it was not found, the picture is black.
            status: Status of the device.
            bundle: Bundle in use.
            black: Whether the picture is black anyway, such as one from outside the body.

        Raises:
            BusyError: The disk is full; raised only if the source is not live.
            MissingDependencyError: OpenCV has no encoder; likewise.
        """
        if self._live and (not self._queue.has_room or self.failure is not None):
            self._dropped += 1  # before the image is copied
            return
        self._refuse()
        black = black or view is None or not view.found
        at_ms = (moment_ns(frame, self._rate) - self._origin_ns) / 1e6
        self._queue.put(
            _Item(
                picture=None if black else self._memory.copy(frame.image),
                shape=(frame.image.shape[0], frame.image.shape[1]),
                line=session_line(frame, result, status, at_ms, black=black),
                view=view,
                bundle=bundle,
            )
        )

    def happened(self, event: Event) -> None:
        """Have an event written into the index."""
        at_ms = (event.time_ns - self._origin_ns) / 1e6
        self._keeper.append(Happened(at_ms=round(at_ms, 3), event=event))

    def pop_events(self) -> list[RecordEvent]:
        """Return what there is to tell since the last call."""
        return self._keeper.pop_events()

    def close(self) -> None:
        """Complete the last segment and cut the last clips; of a live run, for a few seconds.

        Raises:
            BusyError: The disk is full; raised only if the source is not live.
            DataError: The disk does not answer.
            MissingDependencyError: OpenCV has no encoder.
        """
        timeout = _CLOSE_S if self._live else None
        encoded = answered = False
        try:
            encoded = self._queue.close(timeout)
        finally:
            if encoded:
                self._turn()
            elif self._part is not None and self._queue.error is not None:
                self._part.discard()
            answered = self._keeper.close(self.counters["dropped"], _CUT_S if self._live else None)
            self._let_go()
        if not (encoded and answered):
            raise DataError(f"{self.session} could not be completed", got="a disk that hangs")
        self._refuse()

    def _refuse(self) -> None:
        """Raise what went wrong, if every frame is wanted."""
        if not self._live and (self._error is not None or self._keeper.counters["lost"]):
            raise self._error or full_disk(self.session)

    def _let_go(self) -> None:
        owned, self._owned = self._owned, None
        if owned is not None:
            os.close(owned)

    def _encode(self, item: _Item) -> None:
        line = item.line
        self._check_disk(line.at_ms)
        if self._full or time.monotonic() < self._retry_s:
            self._dropped += 1
            return
        part = self._part
        if part is not None and self._is_over(part, line.at_ms, item.shape):
            self._turn()
        name = f"segment-{self._number + (self._part is None):04}"
        try:
            if self._part is None:
                self._number += 1
                self._part = PartWriter(self.session, name, fps=self._record.fps, codec=self._codec)
            self._part.put(_visible(item), line, item.bundle)
        except OSError as error:
            self._lose(name, error, line.at_ms)
        else:
            self._codec = self._part.codec

    def _is_over(self, part: PartWriter, at_ms: float, shape: tuple[int, int]) -> bool:
        """Whether a segment ends; while the disk is too slow to complete it, it goes on."""
        old = not 0 <= at_ms - part.begin_ms < self._segment_ms
        return part.frame_size != shape[::-1] or (old and (self._keeper.has_room or not self._live))

    def _turn(self) -> None:
        """Have the segment completed."""
        part, self._part = self._part, None
        if part is not None:
            self._keeper.complete(part)

    def _lose(self, name: str, error: OSError, at_ms: float) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.discard()
        self._dropped += 1
        self._retry_s = time.monotonic() + RETRY_S
        self._keeper.lose(name, error, at_ms)

    def _check_disk(self, at_ms: float) -> None:
        moment = time.monotonic()
        if moment - self._checked_s < _CHECK_S:
            return
        self._checked_s = moment
        disk = os.statvfs(self.folder)
        before, self._full = self._full, disk.f_bavail * disk.f_frsize < RESERVE_BYTES
        if self._full and not self._live:
            self._error = full_disk(self.session)
        if self._full and not before:
            self._turn()  # what there is becomes whole while there is room
            self._keeper.append(Gap(at_ms=at_ms, why="disk full"))
            self._keeper.tell("record-paused", "the disk is full")
        elif before and not self._full:
            self._keeper.tell("record-resumed", "the disk has room again")


def _visible(item: _Item) -> ImageU8:
    """What may be seen of a frame."""
    if item.picture is None or item.view is None:
        return np.zeros((*item.shape, 3), np.uint8)
    return black_outside(item.picture, item.view)
