"""Keeps the stills of a run in a background thread, limited in number, total size and age."""

from __future__ import annotations

import os
import secrets
import shutil
import uuid
from collections import deque
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge import __version__
from edge.errors import EdgeDifomError
from edge.stills.files import write_still
from edge.stills.folder import (
    DATE,
    MAX_BYTES,
    MAX_STILLS,
    STILL,
    Limits,
    claim,
    date_of,
    stills_in,
)
from edge.stills.still import compose, find_held_back, now
from edge.util.background import Background
from edge.util.files import RESERVE_BYTES, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.frame import Frame, OperatingPoint, Result
    from edge.imaging.view import View
    from edge.status import Status
    from edge.stills.record import BundleIdentity, Mark

MARK_DAYS = 30.0
"""Age at which a marked still is removed, days, if nothing else is chosen."""


_CAPACITY = 4
_CLOSE_S = 1.0


class KeeperEvent(NamedTuple):
    """Outcome of a requested still, for the journal; contains no image.

    Attributes:
        kind: `still`, `still-refused`, `still-expired` or `still-overdue`; likewise `mark`.
        detail: Name of the still, why it was refused, or why one that is too old is still there.
        frame: Number of the frame, None if there was no frame.
        mask: Whether the still has a mask.
    """

    kind: str
    detail: str
    frame: int | None = None
    mask: bool = False


class KeptRun(NamedTuple):
    """The run that stills are of; its stills and marks share it.

    Attributes:
        token: Random part of their names.
        study_uid: DICOM UID of their study, without a registered root (PS3.5 B.2).
    """

    token: str
    study_uid: str

    @classmethod
    def new(cls) -> KeptRun:
        """Draw a new one."""
        return cls(secrets.token_hex(4), f"2.25.{uuid.uuid4().int}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    """Copies of everything that a still is composed of."""

    name: str
    frame: Frame
    result: Result
    view: View
    status: Status
    bundle: BundleIdentity | None
    taken: str
    asked_by: str
    mark: Mark | None
    point: OperatingPoint | None


class StillKeeper:
    """Writes stills into a folder in its own thread; the caller never waits.

    A still that cannot be kept is refused and reported by `pop_events`. No still is removed to make
    room for another; one that is older than `max_days` is removed with what was decided about it.

    Args:
        folder: Folder with private permissions; created if it is missing.
        word: `STILL` or `MARK`; only stills with names of this word are counted and removed.
        max_stills: Maximum number of stills in the folder.
        max_bytes: Maximum total size of the stills, bytes.
        max_days: Age at which a still is removed, days, by the dates in the names and the clock of
            the machine; None keeps every still.
        reserve_bytes: Disk space that stays free, bytes.
        run: The run that the stills are of; None for a new one.
        date: Returns the date and time for the names, records and ages.

    Raises:
        UsageError: The folder cannot be created, others may enter it, or a different run uses it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        word: str = STILL,
        max_stills: int = MAX_STILLS,
        max_bytes: int = MAX_BYTES,
        max_days: float | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        run: KeptRun | None = None,
        date: Callable[[], datetime] = now,
    ) -> None:
        self.folder, self._word = folder, word
        self._max_age = None if max_days is None else timedelta(days=max_days)
        self._limits = Limits(max_stills, max_bytes, reserve_bytes)
        self._date, self._run, self._number = date, run or KeptRun.new(), 0
        self._events: deque[KeeperEvent] = deque()
        self._owned: int | None = claim(folder, word)
        self._queue: Background[_Request | None] = Background(
            self._work, capacity=_CAPACITY, when_full="newest", name=f"{word}s"
        )
        self.expire()

    def keep(
        self,
        frame: Frame,
        result: Result,
        view: View | None,
        status: Status,
        bundle: BundleIdentity | None,
        *,
        asked_by: str,
        mark: Mark | None = None,
        point: OperatingPoint | None = None,
    ) -> None:
        """Queue a frame to be kept; the images are copied, and `pop_events` reports the outcome.

        Args:
            frame: The frame as captured.
            result: The result of this frame.
            view: The field of view of this frame; if it was not found, no still is kept.
            status: Status of the device.
            bundle: Bundle that the scores of the result come from.
            asked_by: Who requested the still, as in `StillRecord`.
            mark: What a person found wrong with the frame.
            point: Thresholds of the bundle, by which a mark learns what was held back.
        """
        if view is None or not view.found:
            self.refuse(
                "no field of view: what lies outside it could not be made black", frame.index
            )
            return
        if not self._queue.has_room:
            self.refuse(f"busy: {_CAPACITY} {self._word}s wait for the disk", frame.index)
            return
        moment = self._date()
        self._number += 1
        queued = self._queue.put(
            _Request(
                name=f"{self._word}-{moment:{DATE}}-{self._run.token}-{self._number}",
                frame=replace(frame, image=frame.image.copy(), stamps={}),
                result=replace(
                    result, scores=None if result.scores is None else result.scores.copy()
                ),
                view=view,
                status=status,
                bundle=bundle,
                taken=moment.isoformat(timespec="milliseconds"),
                asked_by=asked_by,
                mark=mark,
                point=point,
            )
        )
        if not queued:
            self.refuse(f"failed: {self._queue.error}", frame.index)

    def refuse(self, why: str, frame: int | None = None) -> None:
        """Report that a requested still cannot be kept."""
        self._events.append(KeeperEvent(f"{self._word}-refused", why, frame))

    def expire(self) -> None:
        """Have the stills removed that are too old; the caller does not wait for it."""
        if self._max_age is not None and self._queue.has_room:
            self._queue.put(None)

    def pop_events(self) -> list[KeeperEvent]:
        """Return the outcomes since the last call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Write the waiting stills, for at most `timeout` seconds."""
        if not self._queue.close(timeout):
            self.refuse("the disk does not answer")
        if left := self._queue.dropped:
            self.refuse(f"the run ended before {left} could be written")
        owned, self._owned = self._owned, None
        if owned is not None:
            os.close(owned)

    def _work(self, request: _Request | None) -> None:
        if request is None:
            self._remove_expired()
        else:
            self._keep(request)

    def _keep(self, request: _Request) -> None:
        try:
            self._remove_expired()
            if why := self._limits.refusal(self.folder, self._word):
                self.refuse(why, request.frame.index)
                return
            mark = request.mark
            if mark is not None and request.point is not None:
                lost = find_held_back(request.result, request.view, request.point)
                mark = msgspec.structs.replace(mark, held_back=lost)
            still = compose(
                request.frame,
                request.result,
                request.view,
                request.status,
                request.bundle,
                version=__version__,
                taken=request.taken,
                asked_by=request.asked_by,
                study_uid=self._run.study_uid,
                mark=mark,
            )
            write_still(still, self.folder / request.name)
        except (OSError, EdgeDifomError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self.refuse(f"the disk: {reason or error}", request.frame.index)
            return
        self._events.append(
            KeeperEvent(self._word, request.name, request.frame.index, still.mask is not None)
        )

    def _remove_expired(self) -> None:
        """Remove the stills that are too old; what cannot be removed is tried again next time."""
        if self._max_age is None:
            return
        try:
            for still in stills_in(self.folder, self._word):
                date = date_of(still.name)
                if date is None or self._date() - date <= self._max_age:
                    continue
                # A name that the next run removes, if this one is cut short.
                expired = still.with_name(f".{still.name}.expired")
                still.rename(expired)
                sync_folder(self.folder)  # before its files go
                shutil.rmtree(expired)
                self._events.append(KeeperEvent(f"{self._word}-expired", still.name))
        except OSError as error:
            self._events.append(KeeperEvent(f"{self._word}-overdue", error.strerror or str(error)))
