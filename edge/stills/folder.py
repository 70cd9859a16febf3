"""The folder that stills are kept in: its owner, the names in it, and its limits."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import UsageError
from edge.util.files import PRIVATE_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

MAX_STILLS = 500
"""Maximum number of stills in a folder."""

MAX_BYTES = 2 << 30
"""Maximum total size of the stills in a folder, bytes."""

STILL, MARK = "still", "mark"
"""Words for stills that were asked for alone, and for those with a mark; their names begin so."""

NAME = re.compile(rf"(?:{STILL}|{MARK})-\d{{8}}T\d{{6}}Z-[0-9a-f]+-\d+")
"""The name of a still: its word, the date, the run and a number."""

DATE = "%Y%m%dT%H%M%SZ"
"""Format of the date and time in a name, UTC."""


class Limits(NamedTuple):
    """Limits of a folder.

    Attributes:
        stills: Maximum number of stills.
        total_bytes: Maximum total size of the stills, bytes.
        reserve_bytes: Disk space that stays free, bytes.
    """

    stills: int
    total_bytes: int
    reserve_bytes: int

    def refusal(self, folder: Path, word: str) -> str:
        """Return why no further still may be kept in a folder; empty if one may.

        Raises:
            OSError: The folder cannot be read.
        """
        sizes = [
            sum(file.stat().st_size for file in still.iterdir())
            for still in stills_in(folder, word)
        ]
        if len(sizes) >= self.stills:
            return f"full: {len(sizes)} {word}s, at most {self.stills} are kept"
        if sum(sizes) >= self.total_bytes:
            return (
                f"full: {sum(sizes) >> 20} MB of {word}s, "
                f"at most {self.total_bytes >> 20} MB are kept"
            )
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self.reserve_bytes:
            return (
                f"disk full: {free >> 20} MB free, "
                f"{self.reserve_bytes >> 20} MB are left to the journal"
            )
        return ""


def stills_in(folder: Path, *words: str) -> list[Path]:
    """Return the folders of the stills of some words, in the order of their names.

    Raises:
        OSError: The folder cannot be read.
    """
    starts = tuple(f"{word}-" for word in words)
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.startswith(starts) and path.is_dir() and not path.is_symlink()
    ]


def run_of(name: str) -> str:
    """The run in the name of a still."""
    return name.split("-")[2]


def date_of(name: str) -> datetime | None:
    """The date and time in the name of a still; None if it has none."""
    try:
        return datetime.strptime(name.split("-")[1], DATE).replace(tzinfo=timezone.utc)
    except (IndexError, ValueError):
        return None


def claim(folder: Path, word: str) -> int:
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
                f"others may enter {folder}, where {word}s would be kept",
                expected="a folder for its owner only, mode 700",
                got=f"mode {mode:o}",
                hint=f"chmod 700 {folder}, or choose a different folder",
            )
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.glob(f".{word}-*"):
            shutil.rmtree(left)
    except (OSError, UsageError) as error:
        if handle is not None:
            os.close(handle)
        if isinstance(error, UsageError):
            raise
        busy = isinstance(error, BlockingIOError)
        raise UsageError(
            f"no {word}s can be kept in {folder}",
            expected="a folder of its own that can be created and written",
            got="a run keeps pictures there already" if busy else error.strerror or str(error),
            hint="choose a different folder",
        ) from error
    return handle
