"""Atomic writes: files are written under a temporary name, flushed, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import BusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, quota or size limit that leaves no room."""


def full_disk(path: Path | str) -> BusyError:
    """Return the error to raise when a file does not fit on its disk."""
    return BusyError(
        f"{path} cannot be written: the disk is full",
        expected="room for the whole file, within quota and size limit",
        hint="free disk space, or choose a different folder",
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block name a file, such as one that does not fit on its disk."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def atomic_write(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a file atomically: readers and power cuts see the old or the new content only.

    Args:
        path: File to write; missing folders are created.
        data: Bytes, or text that is written as UTF-8.
        mode: Permissions of the file.

    Raises:
        OSError: The file cannot be written, such as on a full disk; `filename` is set.
    """
    content = data.encode() if isinstance(data, str) else data
    with naming(path):
        if _is_special(path):
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _is_special(path: Path) -> bool:
    """Return whether a path is a device or a pipe, which must never be replaced by a file."""
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(kind) or stat.S_ISBLK(kind) or stat.S_ISFIFO(kind)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse a path that exists, before work is done whose result could not be written.

    Raises:
        UsageError: `path` exists, is not an empty folder, and `force` is not set.
    """
    occupied = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if occupied and not force:
        raise UsageError(
            f"{path} exists already",
            expected="a new path",
            hint="choose a different path, or allow replacing it",
            code="path-exists",
        )


def refuse_same_file(outputs: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Refuse outputs that are one file, or that would replace an input.

    Args:
        outputs: Files to write; devices and pipes may be named more than once.
        inputs: Files and folders that are read.

    Raises:
        UsageError: Two paths lead to the same file, or an output is an input.
    """
    taken: dict[Path, Path] = {}
    read = {path.resolve(): path for path in inputs}
    for path in outputs:
        if _is_special(path):
            continue
        where = path.resolve()
        for source, given in read.items():
            if where == source or (where.exists() and _same(where, source)):
                raise UsageError(
                    f"{path} is read and would be written",
                    expected="an output that is not the source",
                    got=f"the source {given}",
                    hint="choose a different path",
                )
        if where in taken:
            raise UsageError(
                "two outputs are the same file",
                expected="one file for each output",
                got=f"{taken[where]} and {path}",
            )
        taken[where] = path


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextmanager
def atomic_dir(path: Path, *, force: bool = False, mode: int = 0o755) -> Iterator[Path]:
    """Yield a folder to fill, which is renamed to `path` if the block ends without an error.

    Args:
        path: Final path of the folder.
        force: Whether an existing folder is replaced.
        mode: Permissions of the folder.

    Raises:
        UsageError: `path` is not empty and `force` is not set.
    """
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    temporary.chmod(mode)
    try:
        yield temporary
        if path.exists():
            replaced = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            path.rename(replaced / path.name)
            temporary.rename(path)
            shutil.rmtree(replaced)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sha256(data: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, in hexadecimal."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    with data.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it if the process dies.

    Args:
        path: File to lock; created if it is missing, never removed.
        wait: Whether to wait for a different process that holds the lock.

    Raises:
        BlockingIOError: A different process holds the lock, and `wait` is false.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
