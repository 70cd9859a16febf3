"""Completes segments, writes the index, cuts clips and removes what is too old, in a thread.

The thread has a lower priority than the frame loop. Nothing here raises: what goes wrong is told
by `pop_events`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import DataError, EdgeDifomError
from edge.recording import folder as kept
from edge.recording.clips import cut, due
from edge.recording.index import Index, read_session
from edge.recording.record import Ended, Gap, Removed
from edge.util.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.recording.folder import Kept, Retention
    from edge.recording.part import PartWriter
    from edge.recording.record import Entry

_CAPACITY = 64
_HURRY_S = 1.0
"""Time for clips at the end of a live run, seconds; the next run cuts the others."""

_NICE = 10
"""Lower priority of the thread, as of nice(1)."""


class RecordEvent(NamedTuple):
    """Something to tell of a recording.

    Attributes:
        kind: `record-begun`, `record-paused`, `record-resumed`, `record-lost`, `record-removed`,
            `record-overdue` (cannot be removed) or `record-clip`.
        detail: Name of the session, segment or clip, or the reason.
    """

    kind: str
    detail: str


class SessionKeeper:
    """Keeps what the recorder of a session hands over.

    Args:
        folder: Folder of the sessions, claimed by the caller.
        session: Folder of the session.
        live: Whether nobody may wait.
        retention: What the folder keeps.
        date: Returns the date and time, for ages.

    Attributes:
        counters: `segments`, `clips`, `lost` segments, `removed` files, of this run.
    """

    def __init__(
        self,
        folder: Path,
        session: Path,
        *,
        live: bool,
        retention: Retention,
        date: Callable[[], datetime],
    ) -> None:
        self.counters: Counter[str] = Counter(segments=0, clips=0, lost=0, removed=0)
        self._folder, self._session, self._live = folder, session, live
        self._retention, self._date = retention, date
        self._index = Index(session)
        self._events: deque[RecordEvent] = deque()
        self._until_s = math.inf
        self._jobs: Background[Callable[[], None]] = Background(
            _do, capacity=_CAPACITY, when_full="newest" if live else "wait", name="record keeper"
        )
        self._jobs.put(self._begin)

    @property
    def has_room(self) -> bool:
        """Whether the disk keeps up."""
        return self._jobs.has_room

    @property
    def error(self) -> Exception | None:
        """The error that ended the thread, None if there is none."""
        return self._jobs.error

    def append(self, entry: Entry) -> None:
        """Have an entry written into the index."""
        self._jobs.put(lambda: _ignore(self._index.append(entry)))

    def complete(self, part: PartWriter) -> None:
        """Have a segment completed."""
        self._jobs.put(lambda: self._complete(part))

    def lose(self, name: str, error: Exception, at_ms: float) -> None:
        """Report a segment that cannot be written."""
        why = error.strerror if isinstance(error, OSError) else getattr(error, "what", "")
        self.counters["lost"] += 1
        self.append(Gap(at_ms=at_ms, why=f"{name}: {why or error}"))
        self.tell("record-lost", f"{name}: {why or error}")

    def tell(self, kind: str, detail: str) -> None:
        """Add to the events."""
        self._events.append(RecordEvent(kind, detail))

    def pop_events(self) -> list[RecordEvent]:
        """Return what there is to tell since the last call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self, dropped: int, timeout: float | None) -> bool:
        """Write the end of the index and cut the last clips; of a live run, only some.

        Args:
            dropped: Number of frames that are not recorded.
            timeout: Seconds to wait; None waits without limit.

        Returns:
            Whether the disk answered in time.
        """
        if self._live:
            self._until_s = time.monotonic() + _HURRY_S
        self._jobs.put(lambda: self._end(dropped))
        return self._jobs.close(timeout)

    @property
    def _hurried(self) -> bool:
        return time.monotonic() >= self._until_s

    def _begin(self) -> None:
        """Repair what other runs left, cut the clips that they owe, and remove what is too old."""
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        with suppress(OSError):
            for path in kept.sessions_in(self._folder):
                if path != self._session:
                    with suppress(OSError, DataError):
                        kept.repair(path)
                        self._cut(path, math.inf)
        self._retain()

    def _complete(self, part: PartWriter) -> None:
        try:
            entry = part.close()
        except (OSError, EdgeDifomError) as error:
            self.lose(part.name, error, part.begin_ms)
            return
        self._index.append(entry)
        self.counters["segments"] += 1
        if self._until_s == math.inf:
            self._cut(self._session, part.end_ms)
            self._retain()

    def _cut(self, path: Path, until_ms: float) -> None:
        """Cut the clips of a session that are due."""
        try:
            session = read_session(path)
        except DataError as error:
            self.tell("record-lost", f"clips: {error.what}")
            return
        index = self._index if path == self._session else Index(path)
        try:
            for window in due(session, until_ms):
                if self._hurried:
                    break
                if (clip := cut(session, window, lambda: self._hurried)) is not None:
                    index.append(clip)
                    self.counters["clips"] += 1
                    self.tell("record-clip", f"{path.name}/{clip.name}")
        except (OSError, EdgeDifomError) as error:
            self.tell("record-lost", f"a clip: {getattr(error, 'what', '') or error}")
        finally:
            if index is not self._index:
                index.close()

    def _retain(self) -> None:
        """Remove what is too old, or too much."""
        try:
            for one, why in kept.surplus(kept.kept_in(self._folder), self._retention, self._date()):
                self._remove(one, why)
            for path in kept.sessions_in(self._folder):
                if path != self._session and kept.is_over(path, self._retention, self._date()):
                    kept.remove_session(path)
        except OSError as error:
            self.tell("record-overdue", error.strerror or str(error))

    def _remove(self, one: Kept, why: str) -> None:
        path, name = one.session.folder, one.part.name
        index = self._index if path == self._session else Index(path)
        index.append(Removed(name=name, why=why))
        if index is not self._index:
            index.close()
        kept.remove_files(path, name)
        self.counters["removed"] += 1
        self.tell("record-removed", f"{path.name}/{name}: {why}")

    def _end(self, dropped: int) -> None:
        self._index.append(Ended(dropped=dropped))
        self._cut(self._session, math.inf)
        self._retain()
        self._index.close()


def _do(job: Callable[[], None]) -> None:
    job()


def _ignore(_: bool) -> None:
    """An entry that does not fit waits in the index."""
