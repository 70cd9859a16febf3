"""The device's journal: one line of JSON for each event, numbered, bounded and rotated; never a picture.

    {"seq":7,"run":"5b1f0c9e","mono_ns":81230000000,"wall":"2025-03-01T09:15:02.113+00:00","kind":"state", ...}

`seq` counts the events of a run from 1, so that a line that was dropped or written twice shows. `mono_ns` is
CLOCK_MONOTONIC, which everything on the device is timed by; `wall` is a note for people.
"""

from __future__ import annotations

import errno
import math
import secrets
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import UsageError
from edge.util.append_file import LineFile
from edge.util.background import RETRY_S, Background

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 5 << 20
"""Size from which a file is rotated."""

KEEP = 5
"""Files that there are at most."""

CAPACITY = 1024
"""Lines that wait for the disk at most; then the oldest is dropped."""

_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What no other path would hint: the device runs all the same, and its journal begins when the disk allows it."""

_MAX_TEXT = 500
_MAX_ITEMS = 64
_SYNC_S = 1.0


class Event(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        seq: Number of the event in its run, from 1.
        run: Names the run.
        mono_ns: CLOCK_MONOTONIC nanoseconds.
        wall: Date and time in UTC, a note only: the clock may be wrong, and jump.
        kind: `start`, `state`, `counters`, `stop`, or what the caller names.
        details: Plain values.
    """

    seq: int
    run: str
    mono_ns: int
    wall: str
    kind: str
    details: dict[str, Any]


class Journal:
    """Takes events without ever waiting, and writes them in a thread of its own.

    Args:
        path: Where to; rotated to `PATH.1` and so on, opened again when others move or remove it.
        clock: CLOCK_MONOTONIC in nanoseconds.
        max_bytes: Size from which a file is rotated.
        keep: Files that there are at most.
        file: Takes the lines; by default a `LineFile` of the above.
        retry_s: Pause after the disk refused a line, seconds.

    Raises:
        UsageError: The file cannot be made, and that is not the disk's fault.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        file: LineFile | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self.path, self.run = path, secrets.token_hex(4)
        self._clock = clock
        self._seq = 0
        self._encoder = msgspec.json.Encoder()
        self._file = file or LineFile(path, max_bytes=max_bytes, keep=keep)
        try:
            self._file.open()
        except OSError as error:
            if error.errno not in _DISK_TROUBLE:
                raise UsageError(
                    f"the journal {path} cannot be written", got=str(error), hint="--log with another path"
                ) from error
        self._synced_s = time.monotonic()
        self._queue = Background(
            self._append, capacity=CAPACITY, when_full="oldest", name="journal", retry_s=retry_s
        )

    @property
    def dropped(self) -> int:
        """Events that no file has, because the disk took none for too long."""
        return self._queue.dropped

    @property
    def failed(self) -> int:
        """Attempts to write that the disk refused."""
        return self._queue.failed

    def event(self, kind: str, /, **details: object) -> None:
        """Note an event; called by one thread.

        Args:
            kind: What happened.
            **details: Numbers, texts, lists and dictionaries of them; of anything else only the type is noted,
                so that no picture gets here.
        """
        self._seq += 1
        wall = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        plain = {name: _plain(value) for name, value in details.items()}
        line = Event(self._seq, self.run, self._clock(), wall, kind, plain)
        self._queue.put(self._encoder.encode(line) + b"\n")

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, as long as that takes no longer than so many seconds."""
        if self._queue.close(timeout):
            self._file.sync()
            self._file.close()

    def _append(self, line: bytes) -> None:
        self._file.append(line)
        now = time.monotonic()
        if now - self._synced_s >= _SYNC_S:
            self._synced_s = now
            self._file.sync()


def _plain(value: object, depth: int = 3) -> object:
    """A value as it may stand in a line."""
    if isinstance(value, str):  # an enumeration of texts too
        return str.__str__(value)[:_MAX_TEXT]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth and isinstance(value, dict):
        pairs = list(value.items())[:_MAX_ITEMS]
        return {str(key)[:_MAX_TEXT]: _plain(held, depth - 1) for key, held in pairs}
    if depth and isinstance(value, list | tuple):
        return [_plain(held, depth - 1) for held in value[:_MAX_ITEMS]]
    return f"<{type(value).__name__}>"
