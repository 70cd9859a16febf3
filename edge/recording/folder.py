"""The folder of recorded sessions: names, repair after a power cut, and what is removed when."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import DataError
from edge.recording.index import Index, complete_in, read_index, read_record, read_session
from edge.recording.record import LINES, VIDEO, Clip, Removed, Segment
from edge.stills.folder import date_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from edge.recording.index import Session
    from edge.recording.record import Part

WORD = "session"
"""Names of sessions begin with it."""

NAME = re.compile(rf"{WORD}-\d{{8}}T\d{{6}}Z-[0-9a-f]+")
"""The name of a session: the word, the date and the run."""

RECORD_DAYS = 7.0
"""Age at which segments and clips are removed, days, if nothing else is chosen."""

RECORD_GB = 20.0
"""Size of a folder above which the oldest segments are removed, gigabytes, if not chosen."""


class Retention(NamedTuple):
    """What a folder keeps.

    Attributes:
        max_days: Age at which segments and clips are removed, days.
        max_bytes: Size of all sessions above which the oldest segments, then clips are removed.
    """

    max_days: float = RECORD_DAYS
    max_bytes: int = round(RECORD_GB * 1e9)


def sessions_in(folder: Path) -> list[Path]:
    """Return the folders of the sessions, in the order of their names, which is by time.

    Raises:
        OSError: The folder cannot be read.
    """
    return [
        path
        for path in sorted(folder.iterdir())
        if NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def repair(session: Path) -> None:
    """Remove what a killed run left incomplete, and complete the index.

    Raises:
        OSError: Something cannot be removed.
        DataError: The folder is no session.
    """
    for path in session.iterdir():
        if path.name.startswith(".") and path.name.endswith((VIDEO, LINES)):
            path.unlink()
        elif path.name.endswith(LINES):
            if not (session / f"{path.name.removesuffix(LINES)}{VIDEO}").exists():
                path.unlink()
        elif path.suffix == VIDEO and not (session / f"{path.stem}{LINES}").exists():
            path.unlink()
    entries = read_index(session)
    listed = {one.name for one in entries if isinstance(one, Segment | Clip)}
    removed = {one.name for one in entries if isinstance(one, Removed)}
    state = read_session(session)
    present: dict[str, Segment | Clip] = {one.name: one for one in state.segments}
    present |= {one.name: one for one in state.clips}
    index = Index(session)
    try:
        for name in sorted(set(present) - listed):
            index.append(present[name])
        for name in sorted(listed - removed - set(present)):
            index.append(Removed(name=name, why="lost"))
    finally:
        index.close()
    for name in removed:
        remove_files(session, name)


def remove_files(session: Path, name: str) -> None:
    """Remove the files of a segment or clip, the video first.

    Raises:
        OSError: They cannot be removed.
    """
    for ending in (VIDEO, LINES):
        (session / f"{name}{ending}").unlink(missing_ok=True)


class Kept(NamedTuple):
    """A segment or clip that is kept.

    Attributes:
        session: The session.
        part: The segment or clip.
        taken: Date and time of its end; None if the session's name has no date.
        size: Size of its files, bytes.
    """

    session: Session
    part: Part
    taken: datetime | None
    size: int


def kept_in(folder: Path) -> list[Kept]:
    """List the segments and clips of a folder by time; what is no session is left out.

    Raises:
        OSError: The folder cannot be read.
    """
    kept: list[Kept] = []
    for path in sessions_in(folder):
        with suppress(DataError):
            session = read_session(path)
            began = date_of(path.name)
            for part in sorted((*session.segments, *session.clips), key=lambda one: one.end_ms):
                taken = None if began is None else began + timedelta(milliseconds=part.end_ms)
                kept.append(Kept(session, part, taken, _size(path, part.name)))
    return kept


def surplus(kept: list[Kept], limits: Retention, now: datetime) -> list[tuple[Kept, str]]:
    """Choose what is removed, and why: `age`, or `size`.

    For room, the oldest segments go first and clips only after them; the newest segment stays.

    Args:
        kept: What there is, by time.
        limits: What is kept.
        now: Date and time.
    """
    age = timedelta(days=limits.max_days)
    removals = [(one, "age") for one in kept if one.taken is not None and now - one.taken > age]
    young = [one for one in kept if one.taken is None or now - one.taken <= age]
    size = sum(one.size for one in young)
    segments = [one for one in young if isinstance(one.part, Segment)][:-1]
    for one in (*segments, *(one for one in young if isinstance(one.part, Clip))):
        if size <= limits.max_bytes:
            break
        removals.append((one, "size"))
        size -= one.size
    return removals


def is_over(session: Path, limits: Retention, now: datetime) -> bool:
    """Whether a session is removed whole: it is empty, or cannot be read and is too old.

    Args:
        session: A session of an earlier run.
        limits: What is kept.
        now: Date and time.
    """
    if not complete_in(session):
        return True
    try:
        read_record(session)
    except DataError:
        began = date_of(session.name)
        return began is not None and now - began > timedelta(days=limits.max_days)
    return False


def remove_session(session: Path) -> None:
    """Remove a session whole; one that is cut short is removed by the next `claim`.

    Raises:
        OSError: It cannot be removed.
    """
    expired = session.with_name(f".{session.name}.expired")
    session.rename(expired)
    shutil.rmtree(expired)


def _size(session: Path, name: str) -> int:
    total = 0
    for ending in (VIDEO, LINES):
        with suppress(OSError):
            total += (session / f"{name}{ending}").stat().st_size
    return total
