"""Records of the audit log, and the check of their chain; nothing is read or written here.

The lines are untrusted: whoever may write the folder may have written them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.util.files import sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

ORIGIN = "0" * 64
"""`prev` of the first record."""

DROPPED, BROKEN = "log-dropped", "log-broken"
"""Events of the log itself: an archived file was removed; earlier records were tampered with."""

Value = str | int
"""Type of a detail."""


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
        ok: Whether the chain is intact and always was.
        records: Number of records that are kept.
        head: The last record; None if there is none.
        problems: Violations; empty if `ok`.
    """

    ok: bool
    records: int
    head: Head | None
    problems: list[str]


def decode(line: bytes) -> Record | None:
    """Return the record of a line, None if the line is not one."""
    try:
        return msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def digests(lines: Sequence[bytes]) -> dict[int, str]:
    """Return the digest of each kept record by its number, and of dropped files' last records."""
    chained: dict[int, str] = {}
    for line in lines:
        if record := decode(line):
            if record.event == DROPPED:
                chained.update([_last_dropped(record)])
            chained[record.n] = sha256(line)
    return chained


def break_before(lines: Sequence[bytes], recorded: Head | None) -> str:
    """Return how the end of a log differs from its stored head; empty if it does not.

    A power cut may leave the head one record behind the log, never ahead of it.

    Args:
        lines: The complete lines, the oldest first.
        recorded: The stored head; None if it is missing or unreadable.
    """
    last = decode(lines[-1]) if lines else None
    if lines and last is None:
        return "the last line is not a record"
    if recorded is None:
        return "the head is missing or damaged" if last and last.n > 1 else ""
    if last and (last.prev == recorded.digest and last.n == recorded.n + 1):
        return ""
    if last and (last.n, sha256(lines[-1])) == (recorded.n, recorded.digest):
        return ""
    ended_with = f"record {last.n}" if last else "nothing"
    return f"the log ended with record {recorded.n} and now ends with {ended_with}"


def check(lines: Sequence[bytes], recorded: Head | None) -> AuditReport:
    """Check the chain of a log.

    Args:
        lines: The complete lines, the oldest first.
        recorded: The stored head; None if it is missing or unreadable.
    """
    problems: list[str] = []
    previous: Head | None = None
    first: Record | None = None
    dropped: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        record = decode(line)
        if record is None:
            problems.append(f"line {number} is not a record")
            continue
        first = first or record
        if previous and (record.prev != previous.digest or record.n != previous.n + 1):
            problems.append(f"record {record.n} does not follow record {previous.n}")
        if record.event == DROPPED:
            dropped.update([_last_dropped(record)])
        problems += _recorded_breaks(record)
        previous = Head(n=record.n, digest=sha256(line))
    if first and first.prev != (dropped.get(first.n - 1, "") if first.n > 1 else ORIGIN):
        problems.append(f"the records before record {first.n} are missing")
    if broken := break_before(lines, recorded):
        problems.append(broken)
    return AuditReport(ok=not problems, records=len(lines), head=previous, problems=problems)


def count_breaks(lines: Sequence[bytes]) -> int:
    """Return how many breaks the records of some lines tell."""
    return sum(len(_recorded_breaks(record)) for line in lines if (record := decode(line)))


def _last_dropped(record: Record) -> tuple[int, str]:
    last = record.detail.get("last", 0)
    return (last if isinstance(last, int) else 0), str(record.detail.get("digest", ""))


def _recorded_breaks(record: Record) -> list[str]:
    if record.event == BROKEN:
        return [f"tampering was found before record {record.n}: {record.detail.get('found', '')}"]
    breaks = record.detail.get("breaks", 0) if record.event == DROPPED else 0
    return [f"{breaks} breaks of the log before record {record.n}, dropped"] if breaks else []
