"""Appends complete lines to a file that others may move or remove, on a disk that may be full.

`logging.handlers` rotates and reopens files too, but does not report whether a line was written,
and leaves partial lines on a full disk. Here a line is written completely or removed again, and the
caller learns which.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.errors import BusyError
from edge.util.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class LineFile:
    """Appends lines; not thread-safe.

    Args:
        path: File to write.
        max_bytes: Size at which the file is moved to `PATH.1`, that one to `PATH.2` and so on; None
            never rotates.
        keep: Maximum number of files.
        write: Writes to a file descriptor and returns the number of bytes written.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None = None,
        keep: int = 5,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self.path = path
        self._max_bytes, self._keep, self._write = max_bytes, keep, write
        self._handle: int | None = None
        self._identity = (0, 0)
        self._size = 0
        self._torn = self._exclusive = self._named = False

    def open(self, *, fresh: bool = False) -> None:
        """Open the file.

        Args:
            fresh: Whether the file is emptied and belongs to this object alone; otherwise it is
                continued, also after a partial line that a dead writer left.

        Raises:
            BusyError: `fresh`, and a different process or object is writing the file.
            OSError: The file cannot be created or written.
        """
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._named = False
        self._handle = os.open(self.path, flags, 0o640)
        self._exclusive = self._exclusive or fresh
        if self._exclusive:
            self._lock(self._handle, fresh=fresh)
        info = os.fstat(self._handle)
        self._identity, self._size = (info.st_dev, info.st_ino), info.st_size
        self._torn = self._size > 0 and os.pread(self._handle, 1, self._size - 1) != b"\n"

    def _lock(self, handle: int, *, fresh: bool) -> None:
        """Lock a file for this object alone until it is closed or its process ends."""
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if fresh and isinstance(error, BlockingIOError):
                self.close()
                raise BusyError(
                    f"{self.path} is being written by a different run",
                    expected="one writer for each file",
                    hint="choose a different file, or end the other run",
                ) from error
        if fresh:
            os.ftruncate(handle, 0)

    def append(self, line: bytes) -> None:
        """Write a line completely, or nothing.

        Args:
            line: The line with its newline.

        Raises:
            OSError: The line was not written, for example because the disk is full.
        """
        self._follow()
        if self._max_bytes and self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        assert self._handle is not None, "opened by _follow"
        rest = (b"\n" if self._torn else b"") + line
        try:
            while rest:
                rest = rest[self._write(self._handle, rest) :]
        except OSError:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError:
                self._torn = True
            raise
        self._torn = False
        self._size = os.lseek(self._handle, 0, os.SEEK_END)

    def sync(self) -> None:
        """Flush the file to the disk, and its name if it is new; errors are ignored."""
        if self._handle is not None:
            with suppress(OSError):
                os.fdatasync(self._handle)
                if not self._named:
                    sync_folder(self.path.parent)
                    self._named = True

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _follow(self) -> None:
        """Open the file if it is not open, or if it was moved or removed."""
        try:
            info = self.path.stat()
            same = (info.st_dev, info.st_ino) == self._identity
        except FileNotFoundError:
            same = False
        if self._handle is None or not same:
            self.open()

    def _rotate(self) -> None:
        # What is older must not be missing from the disk while newer lines are on it.
        self.sync()
        for number in range(self._keep - 1, 0, -1):
            older = (
                self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            )
            with suppress(FileNotFoundError):
                older.replace(self.path.with_name(f"{self.path.name}.{number}"))
        self.open(fresh=self._keep == 1)
