"""The journal of the device: one numbered line of JSON per event, in rotated files; no images.

    {"seq":7,"run":"5b1f0c9e","mono_ns":81230000000,"wall":"2025-03-01T09:15:02.113+00:00",
    "kind":"state",...}

`seq` counts the events of a run from 1, which reveals lines that were dropped or written twice.
`mono_ns` is CLOCK_MONOTONIC, the clock for all timing on the device; `wall` is for display only.
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
"""Size at which a file is rotated, bytes."""

KEEP = 5
"""Maximum number of files."""

CAPACITY = 1024
"""Maximum number of lines that wait for the disk; then the oldest one is dropped."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors that a different path would not avoid: the device runs, and the journal begins later."""

_MAX_TEXT = 500
_MAX_ITEMS = 64
_SYNC_S = 1.0


class Event(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        seq: Number of the event in its run, from 1.
        run: Identifier of the run.
        mono_ns: CLOCK_MONOTONIC nanoseconds.
        wall: Date and time in UTC, for display only: the clock may be wrong or jump.
        kind: `start`, `state`, `counters`, `stop`, or a kind that the caller chooses.
        details: Plain values.
    """

    seq: int
    run: str
    mono_ns: int
    wall: str
    kind: str
    details: dict[str, Any]


class Journal:
    """Records events without blocking the caller, and writes them in its own thread.

    Args:
        path: File to write; rotated to `PATH.1` and so on, reopened if it is moved or removed.
        clock: CLOCK_MONOTONIC in nanoseconds.
        max_bytes: Size at which a file is rotated, bytes.
        keep: Maximum number of files.
        file: File that receives the lines; by default a `LineFile` with the values above.
        retry_s: Pause after a line could not be written, seconds.

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
            if error.errno not in _DISK_ERRORS:
                raise UsageError(
                    f"the journal {path} cannot be written",
                    got=str(error),
                    hint="choose a different path",
                ) from error
        self._synced_s = time.monotonic()
        self._queue = Background(
            self._append, capacity=CAPACITY, when_full="oldest", name="journal", retry_s=retry_s
        )

    @property
    def dropped(self) -> int:
        """Number of events that were lost, because the disk accepted none for too long."""
        return self._queue.dropped

    @property
    def failed(self) -> int:
        """Number of failed attempts to write."""
        return self._queue.failed

    def event(self, kind: str, /, **details: object) -> None:
        """Record an event; must be called by one thread only.

        Args:
            kind: Kind of the event.
            **details: Numbers, texts, and lists and dictionaries of them; anything else is recorded
                by its type only, so that no image is ever written.
        """
        self._seq += 1
        wall = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        plain = {name: _plain(value) for name, value in details.items()}
        line = Event(self._seq, self.run, self._clock(), wall, kind, plain)
        self._queue.put(self._encoder.encode(line) + b"\n")

    def close(self, timeout: float = 1.0) -> None:
        """Write the waiting lines, for at most `timeout` seconds."""
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
    """Convert a value to plain JSON values."""
    if isinstance(value, str):  # includes string enumerations
        text = str.__str__(value)[:_MAX_TEXT]
        return text.encode("utf-8", "backslashreplace").decode()  # names of files outside UTF-8
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth and isinstance(value, dict):
        pairs = list(value.items())[:_MAX_ITEMS]
        return {str(key)[:_MAX_TEXT]: _plain(item, depth - 1) for key, item in pairs}
    if depth and isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value[:_MAX_ITEMS]]
    return f"<{type(value).__name__}>"
