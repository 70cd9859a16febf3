"""What a recorded session consists of: `session.json`, its index, and the lines of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import RESEARCH_USE, Strict
from edge.sinks.event import Event  # noqa: TC001 - msgspec reads annotations
from edge.sinks.jsonl import FrameLine, frame_line
from edge.stills.record import BundleIdentity  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from edge.frame import Frame, Result
    from edge.status import Status

SCHEMA = 1
SESSION, INDEX = "session.json", "index.jsonl"
VIDEO, LINES = ".mp4", ".jsonl.gz"
"""Endings of the two files of a segment or clip."""


class SessionRecord(Strict, frozen=True, kw_only=True):
    """`session.json`; names neither a patient, a machine nor a file.

    Attributes:
        schema: Version of the format, `SCHEMA`.
        intended_use: Notice on the intended use.
        version: Version of this project.
        pseudonym: What the examination is called.
        run: Random part of the names of the session, and of the stills and marks of its run.
        study_uid: DICOM UID of the study of these stills and marks.
        began: Date and time in UTC; for display and for the age, the clock may be wrong.
        live: Whether frames came at their own pace.
        origin_ns: Time from which the index and the lines count: CLOCK_MONOTONIC nanoseconds for a
            live source, 0 for a clip.
        fps: Frames per second at which the video files play.
    """

    schema: int = SCHEMA
    intended_use: str = RESEARCH_USE
    version: str
    pseudonym: str
    run: str
    study_uid: str
    began: str
    live: bool
    origin_ns: int
    fps: float


class SessionLine(FrameLine, frozen=True, omit_defaults=True, kw_only=True):
    """The line of a frame: line n of a file belongs to picture n of its video.

    Attributes:
        at_ms: Time since the begin of the session, milliseconds.
        state: State of the device.
        black: Whether the picture is black because no field of view was known, or the camera was
            out of the body.
    """

    at_ms: float
    state: str
    black: bool = False


class BundleLine(msgspec.Struct, frozen=True):
    """The bundle that the lines after it are of; null if there was none."""

    header: BundleIdentity | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A segment or clip, complete on the disk.

    Attributes:
        name: Its files without their endings.
        begin_ms: Time of its first frame, milliseconds since the begin of the session.
        end_ms: Time of its last frame.
        frames: Number of frames, of pictures and of lines.
        size: Width and height of the pictures, pixels.
        frame_size: Width and height of the frames, to which boxes and contours belong.
    """

    name: str
    begin_ms: float
    end_ms: float
    frames: int
    size: tuple[int, int]
    frame_size: tuple[int, int]


class Segment(Part, frozen=True, kw_only=True, tag_field="kind", tag="segment"):
    """A segment of the session; segments follow each other."""


class Clip(Part, frozen=True, kw_only=True, tag_field="kind", tag="clip"):
    """A clip around an event, cut from segments.

    Attributes:
        event: Number of its first event.
    """

    event: int


class PartLine(msgspec.Struct, frozen=True):
    """The last line of a segment or clip: its entry in the index."""

    header: Segment | Clip


class Happened(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """An event.

    Attributes:
        at_ms: Time since the begin of the session, milliseconds.
        event: The event.
    """

    at_ms: float
    event: Event


class Removed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="removed"):
    """A segment or clip that was removed.

    Attributes:
        name: Its files without their endings.
        why: `age` or `size`.
    """

    name: str
    why: str


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """Frames that are not recorded.

    Attributes:
        at_ms: Time of the first one, milliseconds since the begin of the session.
        why: Why, such as a full disk.
    """

    at_ms: float
    why: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The run ended by itself or was stopped; without it, it was killed or lost its power.

    Attributes:
        dropped: Number of frames that the encoder was too slow for.
    """

    dropped: int


Entry = Segment | Clip | Happened | Removed | Gap | Ended
"""A line of the index."""


def session_line(
    frame: Frame, result: Result, status: Status, at_ms: float, *, black: bool
) -> SessionLine:
    """Build the line of a frame."""
    line = frame_line(frame, result)
    fields = {name: getattr(line, name) for name in FrameLine.__struct_fields__}
    return SessionLine(**fields, at_ms=round(at_ms, 3), state=status.state.value, black=black)
