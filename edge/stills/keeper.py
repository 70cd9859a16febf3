"""Keeps the stills of a run in a background thread, limited in number and total size."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import uuid
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edge import __version__
from edge.errors import EdgeDifomError, UsageError
from edge.stills.files import write_still
from edge.stills.still import compose, now
from edge.util.background import Background
from edge.util.files import PRIVATE_FOLDER, RESERVE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.frame import Frame, Result
    from edge.imaging.view import View
    from edge.status import Status
    from edge.stills.still import BundleIdentity

MAX_STILLS = 500
"""Maximum number of stills in a folder."""

MAX_BYTES = 2 << 30
"""Maximum total size of the stills in a folder, bytes."""

PREFIX = "still-"

_CAPACITY = 4
_CLOSE_S = 1.0


class News(NamedTuple):
    """Outcome of a requested still, for the journal; contains no image.

    Attributes:
        kind: `still` or `still-refused`.
        detail: Name of the still, or why it was refused.
        frame: Number of the frame, None if there was no frame.
        mask: Whether the still has a mask.
    """

    kind: str
    detail: str
    frame: int | None = None
    mask: bool = False


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


class StillKeeper:
    """Writes stills into a folder in its own thread; the caller never waits.

    A still that cannot be kept is refused and reported by `news`; no still is ever removed.

    Args:
        folder: Folder with private permissions; created if it is missing.
        max_stills: Maximum number of stills in the folder.
        max_bytes: Maximum total size of the stills, bytes.
        reserve_bytes: Disk space that stays free, bytes.
        date: Returns the date and time for the names and records, for display only.

    Raises:
        UsageError: The folder cannot be created, others may enter it, or a different run uses it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_stills: int = MAX_STILLS,
        max_bytes: int = MAX_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        date: Callable[[], datetime] = now,
    ) -> None:
        self.folder = folder
        self._max_stills, self._max_bytes = max_stills, max_bytes
        self._reserve_bytes = reserve_bytes
        self._date, self._run, self._number = date, secrets.token_hex(4), 0
        # A UID without a registered root (PS3.5 B.2).
        self._study_uid = f"2.25.{uuid.uuid4().int}"
        self._news: deque[News] = deque()
        self._owned: int | None = _claim(folder)
        self._queue: Background[_Request] = Background(
            self._keep, capacity=_CAPACITY, when_full="newest", name="stills"
        )

    def keep(
        self,
        frame: Frame,
        result: Result,
        view: View | None,
        status: Status,
        bundle: BundleIdentity | None,
        *,
        asked_by: str,
    ) -> None:
        """Queue a frame to be kept; the images are copied, and `news` reports the outcome.

        Args:
            frame: The frame as captured.
            result: The result of this frame.
            view: The field of view of this frame; if it was not found, no still is kept.
            status: Status of the device.
            bundle: Bundle that the scores of the result come from.
            asked_by: Who requested the still, as in `StillRecord`.
        """
        if view is None or not view.found:
            self.refuse(
                "no field of view: what lies outside it could not be made black", frame.index
            )
            return
        if not self._queue.has_room:
            self.refuse(f"busy: {_CAPACITY} stills wait for the disk", frame.index)
            return
        moment = self._date()
        self._number += 1
        kept = self._queue.put(
            _Request(
                name=f"{PREFIX}{moment:%Y%m%dT%H%M%SZ}-{self._run}-{self._number}",
                frame=replace(frame, image=frame.image.copy(), stamps={}),
                result=replace(
                    result, scores=None if result.scores is None else result.scores.copy()
                ),
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
        """Report that a requested still cannot be kept."""
        self._news.append(News("still-refused", why, frame))

    def news(self) -> list[News]:
        """Return the outcomes since the last call."""
        found = []
        while self._news:
            found.append(self._news.popleft())
        return found

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Write the waiting stills, for at most `timeout` seconds."""
        if not self._queue.close(timeout):
            self.refuse("the disk does not answer")
        if left := self._queue.dropped:
            self.refuse(f"the run ended before {left} could be written")
        owned, self._owned = self._owned, None
        if owned is not None:
            os.close(owned)

    def _keep(self, request: _Request) -> None:
        try:
            if why := self._no_room():
                self.refuse(why, request.frame.index)
                return
            still = compose(
                request.frame,
                request.result,
                request.view,
                request.status,
                request.bundle,
                version=__version__,
                taken=request.taken,
                asked_by=request.asked_by,
                study_uid=self._study_uid,
            )
            write_still(still, self.folder / request.name)
        except (OSError, EdgeDifomError) as error:
            said = error.strerror if isinstance(error, OSError) else None
            self.refuse(f"the disk: {said or error}", request.frame.index)
            return
        self._news.append(News("still", request.name, request.frame.index, still.mask is not None))

    def _no_room(self) -> str:
        """Return why no further still may be kept; empty if one may."""
        sizes = [
            sum(file.stat().st_size for file in still.iterdir())
            for still in self.folder.iterdir()
            if still.name.startswith(PREFIX)
        ]
        if len(sizes) >= self._max_stills:
            return f"full: {len(sizes)} stills, at most {self._max_stills} are kept"
        if sum(sizes) >= self._max_bytes:
            return (
                f"full: {sum(sizes) >> 20} MB of stills, "
                f"at most {self._max_bytes >> 20} MB are kept"
            )
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._reserve_bytes:
            return (
                f"disk full: {free >> 20} MB free, "
                f"{self._reserve_bytes >> 20} MB are left to the journal"
            )
        return ""


def _claim(folder: Path) -> int:
    """Claim a folder for this run, and remove what a power cut left incomplete.

    Returns:
        A descriptor that holds the claim until it is closed.

    Raises:
        UsageError: The folder cannot be created, others may enter it, or a different run uses it.
    """
    handle = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        mode = os.fstat(handle).st_mode & 0o777
        if mode & 0o077:
            raise UsageError(
                f"others may enter {folder}, where stills would be kept",
                expected="a folder for its owner only, mode 700",
                got=f"mode {mode:o}",
                hint=f"chmod 700 {folder}, or choose a different folder",
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
            expected="a folder that can be created and written, and that no other run uses",
            got="another run keeps stills there" if busy else error.strerror or str(error),
            hint="choose a different folder",
        ) from error
    return handle
