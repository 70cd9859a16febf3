"""Writes a segment or clip: a video file and the lines of its frames, whole or not at all."""

from __future__ import annotations

import gzip
import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import msgspec

from edge.recording.record import LINES, VIDEO, BundleLine, Clip, PartLine, Segment
from edge.util.clip_writer import ClipWriter, fit
from edge.util.files import PRIVATE_FILE, flush_to_disk, full_disk

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8
    from edge.recording.record import SessionLine
    from edge.stills.record import BundleIdentity

MAX_WIDTH = 1280
"""Maximum width of recorded pictures, pixels; larger frames are scaled down."""

_EFFORT = 1
"""Compression level of the lines, 0 to 9."""
_ENCODER = msgspec.json.Encoder()


class PartWriter:
    """Writes pictures and their lines under hidden names until `close` gives them theirs.

    Args:
        folder: Folder of the session.
        name: Names of the files without their endings.
        fps: Frames per second of the video.
        codec: As in `ClipWriter`.

    Attributes:
        begin_ms: Time of the first frame, milliseconds since the begin of the session.
        end_ms: Time of the last one.
        frames: Number of frames.
        frame_size: Width and height of the frames; zeros before the first.

    Raises:
        OSError: The files cannot be created; nothing is left of them.
    """

    def __init__(self, folder: Path, name: str, *, fps: float, codec: str | None = None) -> None:
        self.folder, self.name = folder, name
        self.begin_ms = self.end_ms = 0.0
        self.frames = 0
        self.frame_size = (0, 0)
        self._bundle: BundleIdentity | None = None
        self._raw: IO[bytes] | None = None
        self._lines: gzip.GzipFile | None = None
        video, lines = self._hidden()
        self._clip = ClipWriter(video, fps=fps, codec=codec, shown=folder / f"{name}{VIDEO}")
        try:
            handle = os.open(lines, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        except OSError:
            self.discard()
            raise
        self._raw = os.fdopen(handle, "wb")
        self._lines = gzip.GzipFile("", "wb", _EFFORT, self._raw, mtime=0)

    @property
    def codec(self) -> str | None:
        """The codec in use, once a frame was written."""
        return self._clip.codec

    def put(
        self,
        picture: ImageU8,
        line: SessionLine,
        bundle: BundleIdentity | None,
        *,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        """Write a frame.

        Args:
            picture: (H, W, 3) uint8 BGR.
            line: Its line.
            bundle: The bundle in use.
            frame_size: Width and height of the frame; None if the picture has them.

        Raises:
            OSError: The line cannot be written.
            MissingDependencyError: OpenCV has no encoder.
        """
        height, width = picture.shape[:2]
        if not self.frames:
            self.begin_ms, self.frame_size = line.at_ms, frame_size or (width, height)
        if not self.frames or bundle != self._bundle:
            self._bundle = bundle
            self._write(BundleLine(bundle))
        self._write(line)
        if width > MAX_WIDTH:
            picture = fit(picture, (round(height * MAX_WIDTH / width / 2) * 2, MAX_WIDTH))
        self._clip.put(picture)
        self.end_ms = line.at_ms
        self.frames += 1

    def close(self, event: int | None = None) -> Segment | Clip:
        """Complete both files, flush them to the disk and give them their names.

        Args:
            event: Number of the event of a clip; None for a segment.

        Returns:
            The entry for the index.

        Raises:
            BusyError: The video is not whole: the disk is full. Nothing is left.
            OSError: Likewise.
        """
        entry = self._entry(event)
        video, lines = self._hidden()
        try:
            self._write(PartLine(entry))
            self._end_lines()
            if not self._clip.close():
                raise full_disk(self.folder / f"{self.name}{VIDEO}")
            flush_to_disk(video)
            lines.replace(self.folder / f"{self.name}{LINES}")
            video.replace(self.folder / f"{self.name}{VIDEO}")
            flush_to_disk(self.folder)
        except BaseException:
            self.discard()
            raise
        return entry

    def discard(self) -> None:
        """End both files and remove them."""
        with suppress(OSError):
            self._clip.close()
        for file in (self._lines, self._raw):
            if file is not None:
                with suppress(OSError, ValueError):
                    file.close()
        for ending in (VIDEO, LINES):
            for path in (self.folder / f".{self.name}{ending}", self.folder / (self.name + ending)):
                with suppress(OSError):
                    path.unlink()

    def _write(self, line: msgspec.Struct) -> None:
        assert self._lines is not None, "opened"
        self._lines.write(_ENCODER.encode(line) + b"\n")

    def _end_lines(self) -> None:
        assert self._lines is not None, "opened"
        assert self._raw is not None, "opened"
        self._lines.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()

    def _entry(self, event: int | None) -> Segment | Clip:
        height, width = self._clip.size
        fields: dict[str, Any] = {
            "name": self.name,
            "begin_ms": self.begin_ms,
            "end_ms": self.end_ms,
            "frames": self.frames,
            "size": (width, height),
            "frame_size": self.frame_size,
        }
        return Segment(**fields) if event is None else Clip(**fields, event=event)

    def _hidden(self) -> tuple[Path, Path]:
        """The files while they are incomplete."""
        return self.folder / f".{self.name}{VIDEO}", self.folder / f".{self.name}{LINES}"
