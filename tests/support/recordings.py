"""A short recording of a moving square, and what a recording must be whatever happened to it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.frame import Frame, Region, Result, Stage
from edge.recording.clips import pictures
from edge.recording.index import read_index, read_lines, read_session
from edge.recording.record import Clip, Removed, Segment
from edge.recording.recorder import Recorder
from edge.sinks.event import EventDetector
from edge.stills.keeper import KeptRun
from tests.support.stills import RUNNING, WHO, circle

if TYPE_CHECKING:
    from pathlib import Path

    from edge.recording.index import Session
    from edge.status import Status

SIZE = (64, 96)
FPS, CYCLE = 20.0, 8
DATE = datetime(2031, 5, 1, 12, tzinfo=timezone.utc)
NONE = Result(None, (), 0.0, None)


def seen(x: int = 40) -> Result:
    """A result with one region."""
    box = (x, 20, 16, 16)
    contour = ((x, 20), (x + 16, 20), (x + 16, 36), (x, 36))
    return Result(None, (Region(box, contour, 0.04, 0.9),), 0.04, None)


def picture(index: int, size: tuple[int, int] = SIZE) -> Frame:
    """A gray frame whose brightness tells its number modulo `CYCLE`, also after the codec."""
    image = np.full((*size, 3), 40 + 24 * (index % CYCLE), np.uint8)
    at = round(index * 1e9 / FPS)
    return Frame(index, image, at, {Stage.INFER: (at, at + 1)}, clip_ns=at)


def number_in(decoded: Any) -> int:
    """The number modulo `CYCLE` that `picture` put into a picture, from its middle."""
    middle = decoded[decoded.shape[0] // 2 - 4 :, decoded.shape[1] // 2 - 4 :][:8, :8]
    return round((float(middle.mean()) - 40) / 24)


def recorder(folder: Path, token: str = "0a0a0a0a", **changes: Any) -> Recorder:
    values: dict[str, Any] = {
        "fps": FPS,
        "live": False,
        "segment_s": 0.5,
        "run": KeptRun(token, "2.25.1", "study-7"),
        "date": lambda: DATE,
    }
    return Recorder(folder, **(values | changes))


def record(
    folder: Path, frames: int, found: range = range(0), token: str = "0a0a0a0a", **changes: Any
) -> Path:
    """Record a clip; a region is shown on the frames `found`. Returns the session."""
    tape, detector = recorder(folder, token, **changes), EventDetector(FPS)
    for index in range(frames):
        put(tape, detector, index, seen() if index in found else NONE)
    for event in detector.end():
        tape.happened(event)
    tape.close()
    return tape.session


def put(
    tape: Recorder,
    detector: EventDetector,
    index: int,
    result: Result,
    status: Status = RUNNING,
    **changes: Any,
) -> None:
    """Hand over a frame as the observer does."""
    frame = picture(index)
    for event in (*detector.status(status), *detector.frame(frame, result)):
        tape.happened(event)
    values: dict[str, Any] = {"view": circle(SIZE)} | changes
    bundle = msgspec.structs.replace(WHO)  # equal, not the same, as the observer makes it
    tape.put(frame, result, values.pop("view"), status, bundle, **values)


def check(folder: Path) -> Session:
    """Fail unless every complete file of a session opens and the index tells the truth."""
    session = read_session(folder)
    parts = [*session.segments, *session.clips]
    named = {part.name for part in parts}
    files = {path.stem for path in folder.glob("*.mp4") if not path.name.startswith(".")}
    assert named <= files, (named, files)
    for part in parts:
        lines = read_lines(folder, part.name)
        numbers = [number_in(one) for one in pictures(folder, part.name)]
        assert len(numbers) == len(lines) == part.frames
        assert numbers == [line.frame % CYCLE for line, _ in lines], (
            "pictures belong to their lines"
        )
        assert (lines[0][0].at_ms, lines[-1][0].at_ms) == (part.begin_ms, part.end_ms)
    entries = read_index(folder)
    gone = {entry.name for entry in entries if isinstance(entry, Removed)}
    listed = {entry.name for entry in entries if isinstance(entry, Segment | Clip)} - gone
    assert listed <= named, "nothing in the index is missing"
    return session
