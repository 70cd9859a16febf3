"""Copy an ext4 image at moments of a recording, as after a power cut, and check what is on it.

Arguments: scratch folder, `flush` or `no-flush`. Needs root and loop devices. Prints one line of
JSON: the number of cuts, and of those that lost a segment that had been reported complete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge.errors import DataError
from edge.recording import clips, recorder
from edge.recording.folder import repair, sessions_in
from edge.recording.keeper import SessionKeeper
from edge.recording.record import Segment
from tests.support.recordings import check, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.recording.part import PartWriter

SCRATCH, FLUSH = Path(sys.argv[1]), sys.argv[2] == "flush"
EVENTS = {"os.rename", "os.remove", "fsync"}
IMAGE_MB, FRAMES = 12, 36
cv2.setNumThreads(1)
clips.BEFORE_MS = clips.AFTER_MS = 200.0
setattr(recorder, "RESERVE_BYTES", 0)  # noqa: B010 - the image is small


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """The image's files; data reaches it when it is flushed, or after the kernel's 30 s."""
    place = SCRATCH / "mounted"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,commit=1", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


class Cutter:
    """Copies the image before file events, with the number of segments reported so far."""

    def __init__(self, image: Path) -> None:
        self.image, self.complete = image, 0
        self.cuts: list[tuple[Path, int]] = []
        self._busy = threading.RLock()
        self._copying = False
        sync, flush = os.fsync, os.fdatasync

        def noted(call: object) -> None:
            sys.audit("fsync")  # Python tells of no flush by itself
            if FLUSH:
                call()  # type: ignore[operator] # a flush

        os.fsync = lambda fd: noted(lambda: sync(fd))
        os.fdatasync = lambda fd: noted(lambda: flush(fd))
        done = SessionKeeper._complete

        def completed(keeper: SessionKeeper, part: PartWriter) -> None:
            done(keeper, part)
            self.complete += 1

        SessionKeeper._complete = completed  # type: ignore[method-assign, assignment] # counted
        sys.addaudithook(self.hook)

    def hook(self, event: str, _: tuple[object, ...]) -> None:
        if event not in EVENTS:
            return
        with self._busy:
            if self._copying:
                return
            self._copying = True
            path = SCRATCH / f"cut{len(self.cuts):03}.img"
            self.cuts.append((path, self.complete))
            shutil.copyfile(self.image, path)
            self._copying = False


def survived(place: Path) -> int:
    """The number of complete segments after the cut; a repair must not lose any."""
    if not (place / "r").exists():
        return 0
    found = 0
    for path in sessions_in(place / "r"):
        try:
            before = check(path).segments
        except DataError:
            continue  # the session had not begun
        repair(path)
        after = check(path).segments
        assert after == before
        assert all(isinstance(part, Segment) for part in after)
        found += len(after)
    return found


def main() -> None:
    """Record, cut at every event, and look at each image."""
    image = SCRATCH / "disk.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with mounted(image) as place:
        cutter = Cutter(image)
        record(place / "r", FRAMES, range(4, 8))
        cuts, cutter.cuts = cutter.cuts, []
        cutter._copying = True  # what follows is no cut
    lost = most = 0
    for path, promised in cuts:
        with mounted(path) as place:
            try:
                found = survived(place)
            except (AssertionError, DataError):
                if FLUSH:
                    raise
                found = -1
            lost += found < promised
            most = max(most, found)
        path.unlink()
    json.dump({"cuts": len(cuts), "lost": lost, "most": most}, sys.stdout)


main()
