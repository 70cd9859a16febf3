"""Audit log of a device's bundles: JSON lines, each with the SHA-256 of the previous line.

The chain reveals lines that were changed, removed or inserted, and the head stored beside it
reveals lines cut off the end. Someone who can write the whole folder can forge everything:
`edge-difom device status` prints the head, to be stored elsewhere.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from edge.util.files import locked, sha256
from firmware_bridge import durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG, HEAD, LOCK = "audit.jsonl", "audit.head", "audit.lock"
ORIGIN = "0" * 64
"""`prev` of the first record."""

Value = str | int
"""Type of a detail."""


def utc_now() -> datetime:
    """Return the wall clock in UTC."""
    return datetime.now(timezone.utc)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the log.

    Attributes:
        n: Number of the record, from 1.
        at: Wall clock, for display only; never used for logic.
        event: Kind of the event.
        detail: Details, such as bundle and reason.
        prev: SHA-256 of the previous line without its end of line.
    """

    n: int
    at: str
    event: str
    detail: dict[str, str | int] = {}
    prev: str


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last record: its number and the SHA-256 of its line."""

    n: int
    digest: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of checking the chain.

    Attributes:
        ok: Whether the chain is intact.
        records: Number of records that are kept.
        head: The last record; None if there is none.
        problems: Violations; empty if `ok`.
    """

    ok: bool
    records: int
    head: Head | None
    problems: list[str]


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
        """
        with locked(self._folder / LOCK):
            head = self._mend()
            path = self._folder / LOG
            if path.exists() and path.stat().st_size >= self._limit:
                head = self._put_aside(head)
            self._write(event, detail, head)

    def records(self) -> list[Record]:
        """Return every readable record, the oldest first."""
        return [record for line in self._lines() if (record := _decode(line))]

    def verify(self) -> AuditReport:
        """Check the chain."""
        with ExitStack() as stack:
            with suppress(OSError):  # a read-only disk has no writer to wait for
                if (self._folder / LOCK).exists():
                    stack.enter_context(locked(self._folder / LOCK))
            lines, kept = self._lines(), self._head()
        problems: list[str] = []
        previous: Head | None = None
        dropped: dict[int, str] = {}
        first: Record | None = None
        digests: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            record = _decode(line)
            if record is None:
                problems.append(f"line {number} is not a record")
                continue
            first = first or record
            if previous and (record.prev != previous.digest or record.n != previous.n + 1):
                problems.append(f"record {record.n} does not follow record {previous.n}")
            if record.event == "log-dropped":
                dropped[int(record.detail.get("last", 0))] = str(record.detail.get("digest", ""))
            previous = Head(n=record.n, digest=sha256(line))
            digests[record.n] = previous.digest
        if first and first.prev != (dropped.get(first.n - 1, "") if first.n > 1 else ORIGIN):
            problems.append(f"the records before record {first.n} are missing")
        if kept and digests.get(kept.n) != kept.digest:
            problems.append(f"record {kept.n} was changed or cut off")
        elif not kept and previous and previous.n > 1:
            problems.append(f"{HEAD} is missing or damaged")
        return AuditReport(ok=not problems, records=len(lines), head=previous, problems=problems)

    def _write(self, event: str, detail: dict[str, Value], head: Head) -> None:
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
        encoded = msgspec.json.encode(Head(n=record.n, digest=sha256(line)))
        durable.write(self._folder / HEAD, encoded)

    def _mend(self) -> Head:
        """Return the last record, after removing a line that a power cut left incomplete."""
        path = self._folder / LOG
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                with path.open("r+b") as file:
                    file.truncate(len(whole))
                    durable.sync_file(file)
        lines = self._lines()
        if not lines:
            return Head(n=0, digest=ORIGIN)
        last = _decode(lines[-1]) or self._head()
        return Head(n=last.n if last else len(lines), digest=sha256(lines[-1]))

    def _put_aside(self, head: Head) -> Head:
        durable.move(self._folder / LOG, self._folder / f"audit.{head.n:09d}.jsonl")
        aside = self._aside()
        for path in aside[: max(0, len(aside) - self._keep)]:
            last = _split(path.read_bytes())[-1]
            n = int(path.name.split(".")[1])
            self._write("log-dropped", {"last": n, "digest": sha256(last)}, head)
            durable.remove(path)
            head = self._mend()
        return head

    def _aside(self) -> list[Path]:
        return sorted(self._folder.glob("audit.[0-9]*.jsonl"))

    def _lines(self) -> list[bytes]:
        current = self._folder / LOG
        paths = [*self._aside(), *([current] if current.exists() else [])]
        return [line for path in paths for line in _split(path.read_bytes())]

    def _head(self) -> Head | None:
        try:
            return msgspec.json.decode((self._folder / HEAD).read_bytes(), type=Head)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None


def _split(data: bytes) -> list[bytes]:
    """Return the complete lines; anything after the last end of line was never finished."""
    return data.split(b"\n")[:-1]


def _decode(line: bytes) -> Record | None:
    try:
        return msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
