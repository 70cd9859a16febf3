"""File operations that survive a power cut: the file is flushed, and so is its folder."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.util.files import atomic_write, locked
from edge.util.files import sync_folder as sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO


LOCK_WAIT_S = 5.0
"""Maximum time that a device waits for a lock of its state folder, seconds."""


@contextmanager
def state_lock(path: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a state folder; none is ever held for long by a healthy process.

    Args:
        path: File to lock.
        wait_s: Maximum time to wait, seconds; `LOCK_WAIT_S` by default.

    Raises:
        BusyError: A different process holds it for longer.
        OSError: It cannot be created.
    """
    with locked(path, timeout_s=LOCK_WAIT_S if wait_s is None else wait_s):
        yield


def write(path: Path, data: bytes) -> None:
    """Write a complete file; it survives a power cut after the return."""
    atomic_write(path, data)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, each flushed into its parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename a flushed file within a file system; replaces an existing target."""
    source.replace(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(file: IO[bytes]) -> None:
    """Flush an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())
