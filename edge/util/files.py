"""Atomic writes: files are written under a temporary name, flushed, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from edge.errors import BusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


_LOCK_POLL_S = 0.02

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


RESERVE_BYTES = 32 << 20
"""Free disk space below which no picture of a live source is kept, bytes; the journal needs it."""

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Permissions of everything that can hold a picture of a patient: its owner's alone."""

_TEMPORARY_AGE_S = 3600.0
"""Age from which a temporary file of `atomic_write` has no living writer, seconds."""


def atomic_write(path: Path, data: bytes | str, *, mode: int = 0o666) -> None:
    """Write a file atomically: readers and power cuts see the old or the new content only.

    Args:
        path: File to write; missing folders are created.
        data: Bytes, or text that is written as UTF-8.
        mode: Permissions of the file, less those that the umask withholds.

    Raises:
        OSError: The file cannot be written, such as on a full disk; `filename` is set.
    """
    content = data.encode() if isinstance(data, str) else data
    with naming(path):
        if _is_special(path):
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _create_beside(path, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk.

    Raises:
        OSError: It cannot be opened or flushed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_text(content: object, *, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Return structs, dataclasses, dicts and lists as indented JSON with a newline at its end.

    Args:
        content: What to encode.
        enc_hook: Converts objects that msgspec does not know, as in `msgspec.json.encode`.
    """
    import msgspec  # many importers of this module write no JSON

    return msgspec.json.format(msgspec.json.encode(content, enc_hook=enc_hook), indent=2) + b"\n"


def write_json(path: Path, content: object, *, mode: int = 0o666) -> None:
    """Write `json_text` of a content with `atomic_write`, whose errors it raises."""
    atomic_write(path, json_text(content), mode=mode)


def _create_beside(path: Path, mode: int) -> tuple[int, Path]:
    """Create a temporary file; the kernel applies the umask, which no thread can ask for safely."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return os.open(temporary, flags, mode), temporary


def remove_abandoned(folder: Path, pattern: str = "*") -> None:
    """Remove temporary files whose writers were killed an hour ago or earlier.

    Args:
        folder: Folder in which `atomic_write` writes.
        pattern: Names of the files that are written, as a glob pattern.
    """
    for path in folder.glob(f".{pattern}.????????"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _TEMPORARY_AGE_S:
                path.unlink()


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
    owners: dict[Path, Path] = {}
    read = {path.resolve(): path for path in inputs}
    for path in outputs:
        if _is_special(path):
            continue
        where = path.resolve()
        for source, label in read.items():
            if where == source or (where.exists() and _same(where, source)):
                raise UsageError(
                    f"{path} is read and would be written",
                    expected="an output that is not the source",
                    got=f"the source {label}",
                    hint="choose a different path",
                )
        if where in owners:
            raise UsageError(
                "two outputs are the same file",
                expected="one file for each output",
                got=f"{owners[where]} and {path}",
            )
        owners[where] = path


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextmanager
def atomic_dir(path: Path, *, force: bool = False, mode: int = 0o777) -> Iterator[Path]:
    """Yield a folder to fill, which is renamed to `path` if the block ends without an error.

    Args:
        path: Final path of the folder.
        force: Whether an existing folder is replaced.
        mode: Permissions of the folder, less those that the umask withholds.

    Raises:
        UsageError: `path` is not empty and `force` is not set.
    """
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.mkdir(mode=mode)
    try:
        yield temporary
        if path.exists():
            replaced = path.with_name(f".{path.name}.old.{secrets.token_hex(4)}")
            replaced.mkdir(mode=PRIVATE_FOLDER)
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
def locked(path: Path, *, wait: bool = True, timeout_s: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it if the process dies.

    Args:
        path: File to lock; created if it is missing, never removed.
        wait: Whether to wait for a different process that holds the lock.
        timeout_s: Maximum time to wait, seconds; None waits as long as it takes.

    Raises:
        BlockingIOError: A different process holds the lock, and `wait` is false.
        BusyError: A different process holds the lock for longer than `timeout_s`.
    """
    with path.open("w") as file:
        if timeout_s is None:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_within(file, path, timeout_s)
        yield


def _lock_within(file: IO[str], path: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not _lock_now(file):
        if time.monotonic() >= end:
            raise BusyError(
                f"{path} is locked by a different process",
                expected=f"a lock that is held for less than {timeout_s:g} s",
                hint=f"`fuser {path}` names the process; end it if it hangs",
            )
        time.sleep(_LOCK_POLL_S)


def _lock_now(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
