"""Ends a recording at its k-th file event, for every k, and looks at what it left; run by a test.

Arguments: scratch folder. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cv2

from edge.recording import clips
from edge.recording.folder import Retention, repair, sessions_in
from edge.recording.index import read_index
from edge.recording.record import Clip, Segment
from tests.support.forked import in_process
from tests.support.recordings import check, record

SCRATCH = Path(sys.argv[1])
EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.truncate", "os.fsync", "fcntl.flock"}
CRASHED, FRAMES = 42, 26
cv2.setNumThreads(1)
clips.BEFORE_MS = clips.AFTER_MS = 200.0


def record_all(folder: Path) -> None:
    """Two and a half segments and a clip; the first segments of a run before are too much."""
    record(folder, FRAMES, range(4, 8), token="bbbbbbbb", retention=Retention(7, 12_000))


def crash_at(k: int, folder: Path) -> None:
    seen = 0

    def tell(event: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen == k:
                os._exit(CRASHED)

    sync, flush = os.fsync, os.fdatasync

    def fsync(fd: int) -> None:
        tell("os.fsync", ())
        sync(fd)

    def fdatasync(fd: int) -> None:
        tell("os.fsync", ())
        flush(fd)

    os.fsync, os.fdatasync = fsync, fdatasync  # type: ignore[assignment] # of files by number alone
    sys.addaudithook(tell)
    record_all(folder)


def look(folder: Path, left: Path) -> None:
    """What a fresh process finds must be whole, before and after its repair, and go on."""
    complete = 0
    for session in sessions_in(folder):
        if not (session / "session.json").exists():
            continue  # the power failed before the session had begun
        complete += len(check(session).segments)
        files = {path.stem for path in session.glob("*.mp4") if not path.name.startswith(".")}
        repair(session)
        found = check(session)
        named = {part.name for part in (*found.segments, *found.clips)}
        listed = {e.name for e in read_index(session) if isinstance(e, Segment | Clip)}
        assert named <= listed, "the index is complete"
        assert named <= files
        hidden = [path.name for path in session.iterdir() if path.name.startswith(".")]
        assert not hidden, hidden
    record(folder, FRAMES, range(4, 8), token="cccccccc")
    assert all((session / "session.json").exists() for session in sessions_in(folder))
    left.write_text(str(complete))


def main() -> None:
    found: list[int] = []
    k = 0
    while True:
        k += 1
        folder = SCRATCH / f"{k}"
        assert in_process(lambda: record(folder, 12, token="aaaaaaaa")) == 0  # noqa: B023
        status = in_process(lambda: crash_at(k, folder))  # noqa: B023
        assert status in (0, CRASHED), status
        assert in_process(lambda: look(folder, SCRATCH / "left")) == 0, f"event {k}"  # noqa: B023
        found.append(int((SCRATCH / "left").read_text()))
        if status == 0:
            break
    json.dump({"moments": k, "least": min(found), "most": max(found)}, sys.stdout)


main()
