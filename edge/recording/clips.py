"""Cuts clips around events out of complete segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2

from edge.errors import DataError
from edge.recording.index import read_lines
from edge.recording.part import PartWriter
from edge.recording.record import VIDEO, Clip
from edge.sinks.event import EventKind
from edge.util.clip_name import ffmpeg_name
from edge.util.ffmpeg import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edge.frame import ImageU8
    from edge.recording.index import Session
    from edge.recording.record import Happened, Segment

BEFORE_MS, AFTER_MS = 5_000.0, 5_000.0
"""How much of the session a clip shows before and after its event, milliseconds."""

MAX_FOUND_MS = 60_000.0
"""How much of a finding that goes on a clip shows, milliseconds."""

CUT = (EventKind.FOUND, EventKind.MARK)
"""Kinds of events that get a clip."""


class Window(NamedTuple):
    """The part of a session that a clip shows.

    Attributes:
        event: Number of its first event.
        begin_ms: Its begin, milliseconds since the begin of the session.
        end_ms: Its end.
    """

    event: int
    begin_ms: float
    end_ms: float

    @property
    def name(self) -> str:
        """Names of the files of the clip, without their endings."""
        return f"clip-{self.event:04}"


def windows(events: Iterable[Happened]) -> list[Window]:
    """Return the windows around events by time.

    A finding is shown until it is lost. An event inside a window gets none of its own and prolongs
    it, until `MAX_FOUND_MS` after its first event.

    Args:
        events: What happened, by time.
    """
    cuts: list[Window] = []
    first, shown = 0.0, False
    for one in events:
        kind, at = one.event.event, one.at_ms
        if kind is EventKind.LOST and shown:
            shown = False
        elif kind not in CUT:
            continue
        elif not cuts or at > cuts[-1].end_ms:
            first = at
            cuts.append(Window(one.event.number, max(0.0, at - BEFORE_MS), at))
        shown = shown or kind is EventKind.FOUND
        last = first + MAX_FOUND_MS if shown else min(at, first + MAX_FOUND_MS)
        cuts[-1] = cuts[-1]._replace(end_ms=last + AFTER_MS)
    return cuts


def due(session: Session, until_ms: float) -> list[Window]:
    """Return the windows that can be cut: everything up to their ends is in complete segments.

    Args:
        session: The session.
        until_ms: Time up to which events are known and segments complete; infinite after the end.
    """
    have = {clip.event for clip in session.clips}
    return [
        window
        for window in windows(session.events)
        if window.event not in have and window.end_ms <= until_ms and _inside(session, window)
    ]


def _inside(session: Session, window: Window) -> list[Segment]:
    return [
        segment
        for segment in session.segments
        if segment.end_ms >= window.begin_ms and segment.begin_ms <= window.end_ms
    ]


def cut(
    session: Session, window: Window, hurried: Callable[[], bool] = lambda: False
) -> Clip | None:
    """Cut a clip; its pictures and lines are those of the segments.

    It ends where the size of the frames changes.

    Args:
        session: The session.
        window: The part of it.
        hurried: Whether there is no more time; asked for each frame.

    Returns:
        The clip; None if the segments hold no frame of the window or cannot be read, or there was
        no time.

    Raises:
        BusyError: The disk is full.
        OSError: The clip cannot be written.
        MissingDependencyError: OpenCV has no encoder.
    """
    writer = PartWriter(session.folder, window.name, fps=session.record.fps)
    try:
        inside = _inside(session, window)
        for segment in inside:
            if segment.frame_size != inside[0].frame_size:
                break
            _copy(session.folder, segment, window, writer, hurried)
        if not writer.frames or hurried():
            writer.discard()
            return None
        clip = writer.close(window.event)
    except BaseException:
        writer.discard()
        raise
    assert isinstance(clip, Clip)
    return clip


def _copy(
    folder: Path,
    segment: Segment,
    window: Window,
    writer: PartWriter,
    hurried: Callable[[], bool],
) -> None:
    """Append the frames of a segment that lie in a window."""
    try:
        lines = read_lines(folder, segment.name)
    except DataError:
        return
    for (line, bundle), picture in zip(lines, pictures(folder, segment.name), strict=False):
        if line.at_ms > window.end_ms or hurried():
            return
        if line.at_ms >= window.begin_ms:
            writer.put(picture, line, bundle, frame_size=segment.frame_size)


def pictures(folder: Path, name: str, start: int = 0) -> Iterator[ImageU8]:
    """Yield the pictures of a segment or clip, (H, W, 3) uint8 BGR.

    Args:
        folder: Folder of the session.
        name: Name of the segment or clip.
        start: Number of the first picture.
    """
    with ffmpeg_name(folder / f"{name}{VIDEO}") as path, quiet():
        video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    try:
        if start:
            video.set(cv2.CAP_PROP_POS_FRAMES, start)
        while True:
            done, picture = video.read()
            if not done:
                return
            yield picture.astype("uint8", copy=False)
    finally:
        video.release()
