"""Stills of a run, kept behind the frame loop's back: bounded in number and size, refused where there is no room."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edge import __version__
from edge.errors import EdgeDifomError, UsageError
from edge.stills.files import FOLDER_MODE, write_still
from edge.stills.still import compose, now
from edge.util.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.frame import Frame, Result
    from edge.imaging.view import View
    from edge.status import Status
    from edge.stills.still import BundleIdentity

MAX_STILLS = 500
"""Stills that a folder holds at most."""

MAX_BYTES = 2 << 30
"""Their size together at most."""

RESERVE_BYTES = 32 << 20
"""Free space of the disk below which no still is kept: the journal needs some."""

PREFIX = "still-"

_CAPACITY = 4
_CLOSE_S = 1.0


class News(NamedTuple):
    """What became of a still, for the journal: never a picture.

    Attributes:
        kind: `still` or `still-refused`.
        detail: Its name, or why there is none.
        frame: Number of the frame, None where there was no frame.
        mask: Whether it has a mask.
    """

    kind: str
    detail: str
    frame: int | None = None
    mask: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """What a still is made of, copied out of the frame loop."""

    name: str
    frame: Frame
    result: Result
    view: View
    status: Status
    bundle: BundleIdentity | None
    taken: str
    asked_by: str


class StillKeeper:
    """Writes stills into a folder in a thread of its own; nobody waits for it.

    A still that cannot be kept is refused, and that is news; none is ever removed for another.

    Args:
        folder: Of its owner alone; made where it is missing.
        most: Stills that it holds at most.
        most_bytes: Their size together at most.
        reserve_bytes: What stays free on its disk.
        date: Date and time for the stills' names and records, a note for people.

    Raises:
        UsageError: The folder cannot be made, others may enter it, or another run keeps stills in it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most: int = MAX_STILLS,
        most_bytes: int = MAX_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        date: Callable[[], datetime] = now,
    ) -> None:
        self.folder = folder
        self._most, self._most_bytes, self._reserve_bytes = most, most_bytes, reserve_bytes
        self._date, self._run, self._number = date, secrets.token_hex(4), 0
        self._news: deque[News] = deque()
        self._owned: int | None = _own(folder)
        self._queue: Background[_Taken] = Background(
            self._keep, capacity=_CAPACITY, when_full="newest", name="stills"
        )

    def take(
        self,
        frame: Frame,
        result: Result,
        view: View | None,
        status: Status,
        bundle: BundleIdentity | None,
        *,
        asked_by: str,
    ) -> None:
        """Keep a frame; the pictures are copied, and what becomes of it is told by `news`.

        Args:
            frame: As captured.
            result: Of this very frame.
            view: The field of view of this frame; without one that was found no still is kept.
            status: The device's.
            bundle: What the scores of the result come from.
            asked_by: As in the record.
        """
        if view is None or not view.found:
            self.refuse("no field of view: what lies outside it could not be made black", frame.index)
            return
        if not self._queue.has_room:
            self.refuse(f"busy: {_CAPACITY} stills wait for the disk", frame.index)
            return
        moment = self._date()
        self._number += 1
        kept = self._queue.put(
            _Taken(
                name=f"{PREFIX}{moment:%Y%m%dT%H%M%SZ}-{self._run}-{self._number}",
                frame=replace(frame, image=frame.image.copy(), stamps={}),
                result=replace(result, scores=None if result.scores is None else result.scores.copy()),
                view=view,
                status=status,
                bundle=bundle,
                taken=moment.isoformat(timespec="milliseconds"),
                asked_by=asked_by,
            )
        )
        if not kept:
            self.refuse(f"failed: {self._queue.error}", frame.index)

    def refuse(self, why: str, frame: int | None = None) -> None:
        """A still that was asked for cannot be."""
        self._news.append(News("still-refused", why, frame))

    def news(self) -> list[News]:
        """What became of stills since the last call."""
        found = []
        while self._news:
            found.append(self._news.popleft())
        return found

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Write what waits, as long as that takes no longer than so many seconds."""
        if not self._queue.close(timeout):
            self.refuse("the disk does not answer")
        if left := self._queue.dropped:
            self.refuse(f"the run ended before {left} could be written")
        owned, self._owned = self._owned, None
        if owned is not None:
            os.close(owned)

    def _keep(self, taken: _Taken) -> None:
        try:
            if why := self._no_room():
                self.refuse(why, taken.frame.index)
                return
            still = compose(
                taken.frame,
                taken.result,
                taken.view,
                taken.status,
                taken.bundle,
                version=__version__,
                taken=taken.taken,
                asked_by=taken.asked_by,
            )
            write_still(still, self.folder / taken.name)
        except (OSError, EdgeDifomError) as error:
            said = error.strerror if isinstance(error, OSError) else None
            self.refuse(f"the disk: {said or error}", taken.frame.index)
            return
        self._news.append(News("still", taken.name, taken.frame.index, still.mask is not None))

    def _no_room(self) -> str:
        """Why no further still may be kept; empty where one may."""
        sizes = [
            sum(file.stat().st_size for file in still.iterdir())
            for still in self.folder.iterdir()
            if still.name.startswith(PREFIX)
        ]
        if len(sizes) >= self._most:
            return f"full: {len(sizes)} stills, at most {self._most} are kept"
        if sum(sizes) >= self._most_bytes:
            return f"full: {sum(sizes) >> 20} MB of stills, at most {self._most_bytes >> 20} MB are kept"
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._reserve_bytes:
            return f"disk full: {free >> 20} MB free, {self._reserve_bytes >> 20} MB are left to the journal"
        return ""


def _own(folder: Path) -> int:
    """A descriptor of a folder that is this run's until it is closed; what a power cut left half-written is removed.

    Raises:
        UsageError: It cannot be made, others may enter it, or it is another run's.
    """
    handle = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        mode = os.fstat(handle).st_mode & 0o777
        if mode & 0o077:
            raise UsageError(
                f"others may enter {folder}, where stills would be kept",
                expected="a folder of its owner alone, mode 700",
                got=f"mode {mode:o}",
                hint=f"chmod 700 {folder}, or another --stills",
            )
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f".{PREFIX}*"):
            shutil.rmtree(left)
    except (OSError, UsageError) as error:
        if handle is not None:
            os.close(handle)
        if isinstance(error, UsageError):
            raise
        busy = isinstance(error, BlockingIOError)
        raise UsageError(
            f"no stills can be kept in {folder}",
            expected="a folder that can be made and written, and that no other run uses",
            got="another run keeps stills there" if busy else error.strerror or str(error),
            hint="--stills with another folder",
        ) from error
    return handle
