"""`file:PATH`: a video clip, read completely or replayed at its own rate like a camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from edge.errors import SourceError
from edge.sources.base import BaseSource, Pacer
from edge.sources.options import ClipOptions
from edge.util.ffmpeg import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.util.spec import Spec

_HINT = "check it in a player; encode it again with `ffmpeg -i CLIP -c:v libx264 NEW.mp4`"
_DEFAULT_FPS = 25.0


class ClipSource(BaseSource):
    """Frames of a clip, decoded by OpenCV's FFmpeg.

    Args:
        path: Path of the clip.
        realtime: Whether frames are delivered when they are due, and late ones are skipped.
        own_stamps: Whether each frame is stamped with its time in the clip instead of the clock,
            which also works if the frame rate varies. A frame that is not later than the one before
            it, as in a container without stamps, follows one frame period after it. Not with
            `realtime`.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    def __init__(
        self, path: Path, *, realtime: bool = False, own_stamps: bool = False, **timing: Any
    ) -> None:
        super().__init__(**timing)
        self.path, self.live, self._own_stamps = path, realtime, own_stamps
        self.description = f"clip {path}"
        self._capture: Any = None
        self._pacer: Pacer | None = None
        self._expected = self._decoded = 0

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `file:PATH` with the options of `ClipOptions`."""
        return cls(spec.path, realtime=spec.read(ClipOptions).realtime)

    def _open(self) -> None:
        if not self.path.is_file():
            raise SourceError(
                f"clip {self.path} cannot be read",
                expected="a video file",
                got="a folder" if self.path.is_dir() else "no such file",
                hint=f"images:{self.path}" if self.path.is_dir() else "check the path",
            )
        with quiet():
            self._capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(
                f"clip {self.path} cannot be decoded",
                expected="a complete video file in a format that FFmpeg reads",
                got=f"{self.path.stat().st_size} bytes that are not a video, or a truncated file",
                hint=_HINT,
            )
        declared = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = declared if 1 <= declared <= 1000 else _DEFAULT_FPS
        self._decoded = 0
        self._expected = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._pacer = Pacer(self.fps, self._clock, self._sleep) if self.live else None
        width, height = (
            int(self._capture.get(key))
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        pace = "replayed at" if self.live else "recorded at"
        self.description = f"clip {self.path}, {width}x{height}, {pace} {self.fps:g} fps"

    def _next(self) -> Frame | None:
        skipped, moment = self._pacer.wait() if self._pacer else (0, None)
        for _ in range(skipped):
            if not self._capture.grab():
                self._check_end()
                return None
            self._decoded += 1
        good, image = self._capture.read()
        if not good:
            self._check_end()
            return None
        if self._own_stamps:
            moment = self._own_stamp()
        self._decoded += 1
        return self._frame(image, captured_ns=moment, skipped=skipped)

    def _own_stamp(self) -> int:
        """Return the time of the decoded frame in the clip, nanoseconds."""
        position_ms: float = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        stamp = round(position_ms * 1e6)
        if self._decoded == 0 or stamp > self._last_ns:
            return stamp
        assert self.fps is not None
        return self._last_ns + round(1e9 / self.fps)

    def _check_end(self) -> None:
        """Raise if the clip is truncated; OpenCV reports a break and the end in the same way."""
        if self._decoded == 0:
            raise SourceError(
                f"clip {self.path} holds no frame", expected="at least one frame", hint=_HINT
            )
        # The container's count may be an estimate, or include frames that an edit list hides.
        if self._decoded < self._expected - max(2, self._expected // 50):
            raise SourceError(
                f"clip {self.path} breaks off",
                expected=f"{self._expected} frames, as its header says",
                got=f"{self._decoded} frames that can be decoded",
                hint=_HINT,
            )

    def _close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
