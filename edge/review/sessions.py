"""Recorded sessions as the review page shows them: a timeline, and any picture of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import msgspec

from edge.errors import DataError
from edge.recording.clips import pictures
from edge.recording.folder import NAME, sessions_in
from edge.recording.index import complete_in, read_lines, read_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from edge.frame import ImageU8
    from edge.recording.index import Session
    from edge.recording.record import Happened, Part

_QUALITY = 88


class PartItem(msgspec.Struct, frozen=True):
    """A segment or clip: its name, its times in milliseconds since the begin, and its frames."""

    name: str
    begin_ms: float
    end_ms: float
    frames: int
    size: tuple[int, int]
    frame_size: tuple[int, int]


class EventItem(msgspec.Struct, frozen=True, kw_only=True):
    """An event: its time in milliseconds since the begin, its kind, and what it says.

    `shown_ms` is the time at which a lost region was last shown.
    """

    at_ms: float
    shown_ms: float | None
    event: str
    number: int
    state: str
    reason: str
    frame: int | None
    regions: int
    name: str


class SessionItem(msgspec.Struct, frozen=True, kw_only=True):
    """A session, as JSON for the page.

    Attributes:
        name: Name of its folder.
        error: Why it cannot be shown; empty if it can.
        pseudonym: What the examination is called.
        began: Date and time in UTC.
        live: Whether the source was live.
        end_ms: Its end, milliseconds since its begin.
        ended: Whether the run ended by itself; if not, it runs, was killed, or lost its power.
        dropped: Number of frames that are not recorded; null if it did not end.
        segments: Its segments by time.
        clips: Its clips by time.
        events: What happened, by time.
        gaps: Milliseconds and reasons of times without a recording.
    """

    name: str
    error: str = ""
    pseudonym: str = ""
    began: str = ""
    live: bool = False
    end_ms: float = 0.0
    ended: bool = False
    dropped: int | None = None
    segments: tuple[PartItem, ...] = ()
    clips: tuple[PartItem, ...] = ()
    events: tuple[EventItem, ...] = ()
    gaps: tuple[tuple[float, str], ...] = ()


def list_sessions(folder: Path) -> list[SessionItem]:
    """List the sessions of a folder, the newest first; it never fails, errors are in the items."""
    try:
        paths = sessions_in(folder)
    except OSError:
        return []
    return [_item(path) for path in reversed(paths)]


def _item(path: Path) -> SessionItem:
    try:
        session = read_session(path)
    except DataError as error:
        return SessionItem(name=path.name, error=str(error))
    return SessionItem(
        name=path.name,
        pseudonym=session.record.pseudonym,
        began=session.record.began,
        live=session.record.live,
        end_ms=session.end_ms,
        ended=session.ended,
        dropped=session.dropped,
        segments=tuple(_part(part) for part in session.segments),
        clips=tuple(_part(part) for part in session.clips),
        events=_events(session),
        gaps=tuple((gap.at_ms, gap.why) for gap in session.gaps),
    )


def _part(part: Part) -> PartItem:
    return PartItem(part.name, part.begin_ms, part.end_ms, part.frames, part.size, part.frame_size)


def _events(session: Session) -> tuple[EventItem, ...]:
    return tuple(
        EventItem(
            at_ms=one.at_ms,
            shown_ms=_shown(session, one),
            event=str(one.event.event),
            number=one.event.number,
            state=one.event.state,
            reason=one.event.reason,
            frame=one.event.frame,
            regions=len(one.event.regions),
            name=one.event.name,
        )
        for one in session.events
    )


def _shown(session: Session, one: Happened) -> float | None:
    shown = one.event.shown_ns
    return None if shown is None else (shown - session.record.origin_ns) / 1e6


def session_at(folder: Path, name: str) -> Path | None:
    """Return the folder of a session by its name; None if there is none."""
    path = folder / name
    return path if NAME.fullmatch(name) and path.is_dir() and not path.is_symlink() else None


def lines_json(session: Path, name: str) -> bytes | None:
    """Return the lines of a segment or clip as JSON; None if there is none of that name.

    `lines` has one object for each picture, `bundle` the bundle of the first one.

    Raises:
        DataError: They are damaged.
    """
    if name not in complete_in(session):
        return None
    lines = read_lines(session, name)
    content: dict[str, Any] = {
        "bundle": lines[0][1] if lines else None,
        "lines": [line for line, _ in lines],
    }
    return msgspec.json.encode(content)


class PictureReader:
    """Reads pictures as JPEG; one after the other is cheap. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: tuple[Path, str, int] | None = None
        self._pictures: Iterator[ImageU8] | None = None

    def jpeg(self, session: Path, name: str, number: int) -> bytes | None:
        """Return a picture of a segment or clip; None if there is none.

        Args:
            session: Folder of the session.
            name: Name of the segment or clip.
            number: Number of the picture, from 0.
        """
        if name not in complete_in(session):
            return None
        with self._lock:
            if self._pictures is None or self._at != (session, name, number):
                self._pictures = pictures(session, name, number)
            self._at = session, name, number + 1
            picture = next(self._pictures, None)
        if picture is None:
            return None
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return bytes(data) if done else None

    def close(self) -> None:
        """Close the file that was read last."""
        with self._lock:
            self._at = self._pictures = None
