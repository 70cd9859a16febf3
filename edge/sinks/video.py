"""`video:PATH.mp4`: the frames with the overlay, as a clip."""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import DataError, UsageError
from edge.frame import DEFAULT_FPS
from edge.imaging.buffer_pool import BufferPool
from edge.overlay.layer_cache import paint_on
from edge.sinks.base import BaseSink, SinkOptions
from edge.util.background import Background
from edge.util.clip_name import printable
from edge.util.clip_writer import CODECS, ClipWriter, encodable_rate
from edge.util.files import RESERVE_BYTES, full_disk, naming, refuse_existing
from edge.util.spec import choice, option

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, ImageU8, Result
    from edge.status import Status
    from edge.util.spec import Spec

    _Item = tuple[ImageU8, Result, Status, int | None]

MIN_FREE_BYTES = 64 << 10
"""Free disk space below which any other recording ends with an error, bytes."""

MAX_FILL_S = 10.0
"""Longest pause of a clip that is recorded as a pause, seconds."""

_log = logging.getLogger(__name__)
_CAPACITY = 4
_CLOSE_S = 1.5
_CHECK_S = 1.0
_DEFAULTS = SinkOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """Options of `video:`.

    Attributes:
        codec: One of `CODECS`; None for the best one that this machine can encode.
    """

    codec: str | None = option(choice(*CODECS), None)


class VideoSink(BaseSink):
    """Writes a clip with the overlay, which gets its name only when it is complete.

    The first frame determines the size; frames of other sizes are fitted into it on black. Frames
    are drawn on and encoded in a thread. Frames of a live source are dropped and counted if the
    encoder is too slow or the disk is full; some space is kept free to complete the clip.

    Args:
        path: File to write; must end in `.mp4`.
        options: Options that all sinks of the run share; without `fps` the clip plays at 25 frames
            per second.
        codec: One of `CODECS`; None for `h264`, or `mp4v` if there is no encoder for it.

    Raises:
        UsageError: `path` exists, or the path or codec cannot be used.
    """

    def __init__(
        self, path: Path, options: SinkOptions = _DEFAULTS, *, codec: str | None = None
    ) -> None:
        super().__init__()
        if path.suffix.lower() != ".mp4":
            raise UsageError(
                "the video sink needs a path", expected="a file ending in .mp4", got=repr(str(path))
            )
        if codec is not None and codec not in CODECS:
            raise UsageError(f"unknown codec {codec!r}", expected=" | ".join(CODECS))
        refuse_existing(path, force=options.force)
        self.path, self._live = path, options.live
        self.fps = encodable_rate(options.fps or DEFAULT_FPS)
        self.codec = codec
        self._stem = f".{printable(path.stem)}.partial"
        self._temporary = path.with_name(f"{self._stem}{os.getpid()}.mp4")
        self._writer: ClipWriter | None = None
        self._queue: Background[_Item] | None = None
        self._begin_ns = 0
        self._newest: ImageU8 | None = None
        self._memory = BufferPool()
        self._checked_s = -math.inf
        self._full = False
        self._missed = self._unrecorded = 0

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `video:PATH` with the options of `VideoOptions`."""
        return cls(spec.path, options, codec=spec.read(VideoOptions).codec)

    def __enter__(self) -> Self:
        # Raises an error that names the path; OpenCV would only report a failure.
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_left_over()
            self._writer = ClipWriter(
                self._temporary, fps=self.fps, codec=self.codec, shown=self.path
            )
        self._newest = None
        self._queue = Background(
            self._encode,
            capacity=_CAPACITY,
            when_full="newest" if self._live else "wait",
            name="video",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        queue, self._queue = self._queue, None
        try:
            if queue is not None:
                ended = queue.close(_CLOSE_S if self._live else None)
                self.counters["dropped"] = self._missed + self._unrecorded + queue.dropped
                if not ended:
                    raise DataError(f"{self.path} could not be closed", got="an encoder that hangs")
            writer, self._writer = self._writer, None
            if writer is None or not writer.written:
                return
            if not writer.close():
                raise full_disk(self.path)
            self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def outputs(self) -> list[Path]:
        """The clip."""
        return [self.path]

    def write(self, frame: Frame, result: Result) -> None:
        """Queue a frame for the encoder.

        Raises:
            MissingDependencyError: OpenCV has no encoder; for a live source this is raised on exit.
        """
        assert self._queue is not None, "the sink is used outside its `with` block"
        if self._live and (not self._queue.has_room or self._queue.error is not None):
            self._missed += 1  # before the image is copied
        else:
            self._queue.put((self._memory.copy(frame.image), result, self.status, frame.clip_ns))
        self.counters["dropped"] = self._missed + self._unrecorded + self._queue.dropped

    def _encode(self, item: _Item) -> None:
        picture, result, status, clip_ns = item
        self._check_disk()
        if self._live and self._full:
            self._unrecorded += 1
            return
        paint_on(picture, result, status)
        writer = self._writer
        assert writer is not None, "entered"
        if not writer.written:
            self._begin_ns = clip_ns or 0
        elif clip_ns is not None and not self._live:
            self._fill(writer, clip_ns)
        writer.put(picture)
        self.codec = writer.codec
        self._newest = picture

    def _fill(self, writer: ClipWriter, clip_ns: int) -> None:
        """Repeat the last picture until a frame of a variable rate is due.

        A longer pause is cut: a recorder that was stopped for an hour makes no hour of video.
        """
        due = round((clip_ns - self._begin_ns) * self.fps / 1e9)
        late = due - writer.written
        if late > MAX_FILL_S * self.fps or late < -self.fps:
            self._begin_ns = clip_ns - round(writer.written * 1e9 / self.fps)
            return
        # A frame early or late is the jitter of stamps.
        for _ in range(late - 1):
            assert self._newest is not None, "a frame was written"
            writer.put(self._newest)

    def _remove_left_over(self) -> None:
        """Remove what runs left behind that were killed while they recorded the same file."""
        for left in self.path.parent.iterdir():
            number = left.name.removeprefix(self._stem).removesuffix(".mp4")
            if left.name != f"{self._stem}{number}.mp4" or not number.isdecimal():
                continue
            if not Path(f"/proc/{number}").exists():
                _log.warning("removed %s: a recording that was not completed", left)
                with suppress(OSError):
                    left.unlink()

    def _check_disk(self) -> None:
        now = time.monotonic()
        if now - self._checked_s >= _CHECK_S:
            self._checked_s = now
            disk = os.statvfs(self.path.parent)
            free = disk.f_bavail * disk.f_frsize
            self._full = free < RESERVE_BYTES
            if not self._live and free < MIN_FREE_BYTES:
                raise full_disk(self.path)
