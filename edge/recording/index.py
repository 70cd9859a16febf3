"""The index of a session: one line for each thing that is complete on the disk, or happened.

A segment is renamed before its line is written, so a power cut between both leaves a complete
segment without a line: `read_session` finds it. Nothing in the index is missing, and nothing that
is complete is missing from what `read_session` returns.
"""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from edge.errors import DataError
from edge.recording.record import (
    INDEX,
    LINES,
    SCHEMA,
    SESSION,
    VIDEO,
    BundleLine,
    Clip,
    Ended,
    Entry,
    Gap,
    Happened,
    PartLine,
    Removed,
    Segment,
    SessionLine,
    SessionRecord,
)
from edge.util.append_file import LineFile
from edge.util.files import PRIVATE_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from edge.stills.record import BundleIdentity

MAX_PENDING = 1000
"""Maximum number of lines that wait for room on the disk."""

_Part = TypeVar("_Part", Segment, Clip)
_NAME = re.compile(r"(segment|clip)-\d{4,}")
_HEADER, _PART = b'{"header":', b'{"header":{"kind":'
_ENTRY = msgspec.json.Decoder(Entry)
_LINE = msgspec.json.Decoder(SessionLine)
_BUNDLE = msgspec.json.Decoder(BundleLine)
_ENCODER = msgspec.json.Encoder()


class Index:
    """Appends entries to the index of a session; each is on the disk when `append` returns.

    Entries that do not fit on a full disk are kept, at most `MAX_PENDING`, and written first when
    there is room again. Not thread-safe.

    Args:
        folder: Folder of the session.
    """

    def __init__(self, folder: Path) -> None:
        self._file = LineFile(folder / INDEX, mode=PRIVATE_FILE)
        self._pending: list[bytes] = []

    def append(self, entry: Entry) -> bool:
        """Write an entry; return whether it is on the disk."""
        self._pending.append(_ENCODER.encode(entry) + b"\n")
        del self._pending[:-MAX_PENDING]
        try:
            while self._pending:
                self._file.append(self._pending[0])
                del self._pending[0]
        except OSError:
            return False
        self._file.sync()
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Session(NamedTuple):
    """A session as it is on the disk.

    Attributes:
        folder: Its folder.
        record: `session.json`.
        segments: The complete segments by time.
        clips: The complete clips by time.
        events: What happened, by time.
        gaps: Times without a recording.
        ended: Whether the run ended by itself; if not, it is running, was killed, or lost power.
        dropped: Number of frames that the encoder was too slow for; None before the end.
    """

    folder: Path
    record: SessionRecord
    segments: list[Segment]
    clips: list[Clip]
    events: list[Happened]
    gaps: list[Gap]
    dropped: int | None

    @property
    def ended(self) -> bool:
        """Whether the run ended by itself or was stopped; otherwise it runs, or was cut short."""
        return self.dropped is not None

    @property
    def end_ms(self) -> float:
        """The last time of anything in it, milliseconds."""
        ends = [part.end_ms for part in (*self.segments, *self.clips)]
        return max([0.0, *ends, *(one.at_ms for one in self.events)])


def read_session(folder: Path) -> Session:
    """Read a session, also one that is being recorded or was cut short.

    Raises:
        DataError: The folder is no session, or has a different schema.
    """
    record = read_record(folder)
    entries = read_index(folder)
    removed = {entry.name for entry in entries if isinstance(entry, Removed)}
    parts = {
        entry.name: entry
        for entry in entries
        if isinstance(entry, Segment | Clip) and entry.name not in removed
    }
    events = {entry.event.number: entry for entry in entries if isinstance(entry, Happened)}
    for name in sorted(complete_in(folder) - set(parts) - removed):
        if (part := described(folder, name)) is not None:
            parts[name] = part
    present = [part for part in parts.values() if (folder / f"{part.name}{VIDEO}").exists()]
    ends = [entry.dropped for entry in entries if isinstance(entry, Ended)]
    return Session(
        folder=folder,
        record=record,
        segments=_by_time([part for part in present if isinstance(part, Segment)]),
        clips=_by_time([part for part in present if isinstance(part, Clip)]),
        events=sorted(events.values(), key=lambda one: (one.at_ms, one.event.number)),
        gaps=[entry for entry in entries if isinstance(entry, Gap)],
        dropped=ends[-1] if ends else None,
    )


def read_record(folder: Path) -> SessionRecord:
    """Read `session.json`.

    Raises:
        DataError: It cannot be read, or has a different schema.
    """
    try:
        record = msgspec.json.decode((folder / SESSION).read_bytes(), type=SessionRecord)
    except OSError as error:
        raise DataError(f"{folder} is no session", got=error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{folder / SESSION} cannot be read", got=str(error)) from error
    if record.schema != SCHEMA:
        raise DataError(
            f"{folder / SESSION} has a different schema",
            expected=f"{SCHEMA}",
            got=f"{record.schema}",
        )
    return record


def read_index(folder: Path) -> list[Entry]:
    """Read the entries of an index; lines that a power cut left damaged are skipped."""
    entries: list[Entry] = []
    try:
        lines = (folder / INDEX).read_bytes().split(b"\n")
    except OSError:
        return entries
    for line in lines:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            entries.append(_ENTRY.decode(line))
    return [
        entry
        for entry in entries
        if not isinstance(entry, Segment | Clip | Removed) or _NAME.fullmatch(entry.name)
    ]


def complete_in(folder: Path) -> set[str]:
    """Return the names of the segments and clips whose two files are there."""
    return {
        path.stem
        for path in folder.glob(f"*{VIDEO}")
        if _NAME.fullmatch(path.stem) and (folder / f"{path.stem}{LINES}").exists()
    }


def described(folder: Path, name: str) -> Segment | Clip | None:
    """Return what the last line of a segment or clip says of it; None if it cannot be read."""
    last = b""
    with suppress(OSError, EOFError, zlib.error), gzip.open(folder / f"{name}{LINES}") as file:
        for line in file:
            last = line
    try:
        part = msgspec.json.decode(last, type=PartLine).header
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return part if part.name == name else None


def read_lines(folder: Path, name: str) -> list[tuple[SessionLine, BundleIdentity | None]]:
    """Read the lines of the frames of a segment or clip, each with the bundle it is of.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / f"{name}{LINES}"
    lines: list[tuple[SessionLine, BundleIdentity | None]] = []
    bundle: BundleIdentity | None = None
    try:
        with gzip.open(path) as file:
            for line in file:
                if line.startswith(_PART):
                    break
                if line.startswith(_HEADER):
                    bundle = _BUNDLE.decode(line).header
                else:
                    lines.append((_LINE.decode(line), bundle))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read", got=str(error)) from error
    return lines


def _by_time(parts: list[_Part]) -> list[_Part]:
    return sorted(parts, key=lambda part: part.begin_ms)
