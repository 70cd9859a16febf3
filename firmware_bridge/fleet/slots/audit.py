"""Audit log of a device's bundles: JSON lines, each with the SHA-256 of the previous line.

The chain reveals lines that were changed, removed or inserted, and the head stored beside it
reveals lines cut off the end. The next record is preceded by one that tells such a break, which
stays in the log. Someone who can write the whole folder can forge everything, so checkpoints of
the head are kept elsewhere (`firmware_bridge.fleet.slots.checkpoint`).
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from edge.errors import BusyError
from edge.util.files import sha256
from firmware_bridge import durable
from firmware_bridge.fleet.slots import audit_chain as chain
from firmware_bridge.fleet.slots.audit_chain import (
    BROKEN,
    DROPPED,
    ORIGIN,
    AuditReport,
    Head,
    Record,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG, HEAD, LOCK = "audit.jsonl", "audit.head", "audit.lock"
_LARGEST = 16 << 20
"""Maximum size of a file of the log in bytes; the log itself is archived far below it."""


def utc_now() -> datetime:
    """Return the wall clock in UTC."""
    return datetime.now(timezone.utc)


class AuditLog:
    """The log in a folder; several processes may append to it.

    Args:
        folder: Existing folder of the log.
        now: Wall clock of the records.
        limit: Size in bytes from which the file is archived and a new one started, which continues
            the chain.
        keep: Number of archived files to keep; the chain records dropped ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime] = utc_now,
        limit: int = 1 << 20,
        keep: int = 8,
    ) -> None:
        self._folder, self._now, self._limit, self._keep = folder, now, limit, keep

    def append(self, event: str, **detail: Value) -> None:
        """Append a record; it survives a power cut after the return.

        Args:
            event: Kind of the event.
            **detail: Details, such as bundle and reason.

        Raises:
            OSError: The record cannot be written.
            BusyError: A different process holds the lock of the log.
        """
        with durable.state_lock(self._folder / LOCK):
            head = self._repair()
            path = self._folder / LOG
            if path.exists() and path.stat().st_size >= self._limit:
                head = self._put_aside(head)
            self._write(event, detail, head)

    def records(self) -> list[Record]:
        """Return every readable record, the oldest first; none if the log cannot be read."""
        try:
            lines = self._lines()
        except OSError:
            return []
        return [record for line in lines if (record := chain.decode(line))]

    def verify(self) -> AuditReport:
        """Check the chain."""
        with ExitStack() as stack:
            # A read-only disk has no writer to wait for, and one that hangs must not hide the log.
            with suppress(OSError, BusyError):
                if (self._folder / LOCK).exists():
                    stack.enter_context(durable.state_lock(self._folder / LOCK))
            try:
                return chain.check(self._lines(), self._head())
            except OSError as error:
                problem = f"the log cannot be read: {error}"
                return AuditReport(ok=False, records=0, head=None, problems=[problem])

    def lines(self) -> list[bytes]:
        """Return every complete line as it was written, the oldest first.

        Raises:
            OSError: A file of the log cannot be read.
        """
        return self._lines()

    def _write(self, event: str, detail: dict[str, Value], head: Head) -> Head:
        at = self._now().isoformat(timespec="seconds")
        record = Record(n=head.n + 1, at=at, event=event, detail=detail, prev=head.digest)
        line = msgspec.json.encode(record)
        path = self._folder / LOG
        new = not path.exists()
        with path.open("ab") as file:
            file.write(line + b"\n")
            durable.sync_file(file)
        if new:
            durable.sync_folder(self._folder)
        written = Head(n=record.n, digest=sha256(line))
        durable.write(self._folder / HEAD, msgspec.json.encode(written))
        return written

    def _repair(self) -> Head:
        """Return the last record, after removing a line that a power cut left incomplete.

        An end that differs from the stored head is recorded, because the head is about to be
        replaced and would no longer tell.
        """
        path = self._folder / LOG
        if path.exists():
            data = _read(path)
            complete = data[: data.rfind(b"\n") + 1]
            if len(complete) < len(data):
                with path.open("r+b") as file:
                    file.truncate(len(complete))
                    durable.sync_file(file)
        lines, recorded = self._lines(), self._head()
        head = _chain_head(lines, recorded)
        if breach := chain.break_before(lines, recorded):
            detail: dict[str, Value] = {"found": breach}
            if recorded is not None:
                detail |= {"head": recorded.n, "digest": recorded.digest}
            head = self._write(BROKEN, detail, head)
        return head

    def _put_aside(self, head: Head) -> Head:
        durable.move(self._folder / LOG, self._folder / f"audit.{head.n:09d}.jsonl")
        aside = self._aside()
        for path in aside[: max(0, len(aside) - self._keep)]:
            lines = _split(_read(path))
            last = lines[-1] if lines else b""
            record = chain.decode(last)
            detail: dict[str, Value] = {"last": record.n if record else 0, "digest": sha256(last)}
            if breaks := chain.count_breaks(lines):
                detail["breaks"] = breaks
            head = self._write(DROPPED, detail, head)
            durable.remove(path)
        return head

    def _aside(self) -> list[Path]:
        return sorted(self._folder.glob("audit.[0-9]*.jsonl"))

    def _lines(self) -> list[bytes]:
        current = self._folder / LOG
        paths = [*self._aside(), *([current] if current.exists() else [])]
        return [line for path in paths for line in _split(_read(path))]

    def _head(self) -> Head | None:
        try:
            return msgspec.json.decode(_read(self._folder / HEAD), type=Head)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _split(data: bytes) -> list[bytes]:
    """Return the complete lines; anything after the last end of line was never finished."""
    return data.split(b"\n")[:-1]


def _chain_head(lines: list[bytes], recorded: Head | None) -> Head:
    """Return the record from which the chain goes on."""
    if not lines:
        return recorded or Head(n=0, digest=ORIGIN)
    last = chain.decode(lines[-1]) or recorded
    return Head(n=last.n if last else len(lines), digest=sha256(lines[-1]))


def _read(path: Path) -> bytes:
    """Read a plain file of the log.

    Raises:
        OSError: It is a link, a pipe or a device, too large, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a regular file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(f"{path} is larger than {_LARGEST} bytes")
    return data
