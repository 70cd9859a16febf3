"""Atomic writes: files are written under a temporary name, flushed, then renamed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def atomic_write(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a file atomically: readers and power cuts see the old or the new content only.

    Args:
        path: File to write; missing folders are created.
        data: Bytes, or text that is written as UTF-8.
        mode: Permissions of the file.

    Raises:
        OSError: The file cannot be written, such as on a full disk; `filename` is set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the system's errors while it is written: a full disk does not say where.

    Raises:
        OSError: What the block raises, with a file name.
    """
    try:
        yield
    except OSError as error:
        if error.filename or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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
