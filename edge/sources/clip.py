"""`file:PATH`: a video clip, read completely or replayed at its own rate like a camera."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import cv2

from edge.errors import SourceError, UsageError
from edge.sources.base import BaseSource
from edge.sources.options import ClipOptions
from edge.sources.packets import AHEAD, Packets
from edge.util.clip_name import check_clip, ffmpeg_name
from edge.util.container import hides_frames, holds_its_video, missing_bytes
from edge.util.ffmpeg import quiet
from edge.util.field_order import declares_fields

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.util.spec import Spec

_JUMP_BACK_S = 1.0
_MIN_TAIL_S, _TAIL_SHARE = 1.0, 0.02
"""How much earlier than its packets a clip's frames may end, seconds and share of its length."""


class ClipSource(BaseSource):
    """Frames of a clip, decoded by OpenCV's FFmpeg, each with its time in the clip.

    The time of a frame that is not later than the one before it, as in a container without stamps,
    is one frame period later.

    Args:
        path: Path of the clip.
        realtime: Whether frames are delivered when they are due, and late ones are skipped.
        own_stamps: Whether each frame is stamped with its time in the clip instead of the clock.
            Not with `realtime`.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    def __init__(
        self, path: Path, *, realtime: bool = False, own_stamps: bool = False, **timing: Any
    ) -> None:
        super().__init__(**timing)
        self.path, self.live, self._own_stamps = path, realtime, own_stamps
        self.description = f"clip {path}"
        self._capture: Any = None
        self._packets: Packets | None = None
        self._period_ns = 0
        self._declared = self._decoded = 0
        self._last_clip_ns = self._shift_ns = 0
        self._begin_ns: int | None = None

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `file:PATH` with the options of `ClipOptions`.

        Raises:
            UsageError: An option is unknown or does not fit.
        """
        try:
            options = spec.read(ClipOptions)
        except UsageError as error:
            raise UsageError(
                error.what,
                expected=error.expected,
                got=error.got,
                hint=error.hint or f"a file of that name is closed with one more `?`: {spec}?",
            ) from error
        return cls(spec.path, realtime=options.realtime)

    def inputs(self) -> list[Path]:
        """Return the clip."""
        return [self.path]

    def _open(self) -> None:
        check_clip(self.path)
        if not holds_its_video(self.path):
            raise SourceError(
                f"clip {self.path} cannot be decoded",
                expected="a video file, not a list of others",
                got="no container that is known",
                hint=self._convert(),
            )
        with ffmpeg_name(self.path) as name, quiet():
            self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
            self._packets = Packets(name, declares_fields=declares_fields(self.path))
        if not self._capture.isOpened():
            raise SourceError(
                f"clip {self.path} cannot be decoded",
                expected="a complete video file in a format that FFmpeg reads",
                got=f"{self.path.stat().st_size} bytes that are not a video, or a truncated file",
                hint=self._convert(),
            )
        self._decoded = self._last_clip_ns = self._shift_ns = 0
        self._begin_ns = None
        self._declared = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.fps = self._packets.rate(self._capture.get(cv2.CAP_PROP_FPS))
        self._period_ns = round(1e9 / self.fps)
        self._refuse_interlaced()
        width, height = (
            int(self._capture.get(key))
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        pace = "replayed at" if self.live else "recorded at"
        self.description = f"clip {self.path}, {width}x{height}, {pace} {self.fps:g} fps"

    def _next(self) -> Frame | None:
        skipped, moment = 0, None
        while True:
            if not self._capture.grab():
                self._check_end()
                return None
            clip_ns = self._clip_time()
            self._decoded += 1
            if not self.live:
                break
            moment = self._due(clip_ns)
            # The frame after this one is due already.
            if moment + self._period_ns > self._clock():
                break
            skipped += 1
        assert self._packets is not None
        self._packets.read(self._decoded + AHEAD)
        self._refuse_interlaced()
        good, image = self._capture.retrieve()
        if not good:
            self._check_end()
            return None
        if moment is not None:
            while (left_ns := moment - self._clock()) > 0:
                self._sleep(left_ns / 1e9)
        elif self._own_stamps:
            moment = clip_ns
        frame = self._frame(image, captured_ns=moment, skipped=skipped)
        frame.clip_ns = clip_ns
        return frame

    def _due(self, clip_ns: int) -> int:
        """Return when a frame of a replay is due on the clock."""
        if self._begin_ns is None:
            self._begin_ns = self._clock() - clip_ns
        return self._begin_ns + clip_ns

    def _clip_time(self) -> int:
        """Return the time of the frame that was decoded last, nanoseconds in the clip."""
        position_ms: float = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        stamp, follows = round(position_ms * 1e6), self._last_clip_ns + self._period_ns
        if self._decoded and stamp + self._shift_ns < self._last_clip_ns - _JUMP_BACK_S * 1e9:
            self._shift_ns = follows - stamp  # the recorder's clock began anew
        stamp = max(0, stamp + self._shift_ns)
        if self._decoded and stamp <= self._last_clip_ns:
            stamp = follows
        self._last_clip_ns = stamp
        return stamp

    def _refuse_interlaced(self) -> None:
        if self._packets is not None and self._packets.interlaced:
            raise SourceError(
                f"clip {self.path} is interlaced",
                expected="progressive video: half of the lines of each frame is from another time",
                got=f"fields, coded as {self._packets.codec or 'raw'}",
                hint=self._convert("-vf bwdif "),
            )

    def _convert(self, filters: str = "") -> str:
        clip = shlex.quote(str(self.path))
        return f"convert it with `ffmpeg -i {clip} {filters}-c:v libx264 -crf 16 NEW.mp4`"

    def _check_end(self) -> None:
        """Raise if the clip is truncated or damaged; OpenCV reports that as a regular end."""
        assert self._packets is not None
        self._packets.read(self._decoded + AHEAD)
        self._refuse_interlaced()
        if self._decoded == 0:
            codec = self._packets.codec if self._packets.count else ""
            raise SourceError(
                f"clip {self.path} holds no frame that can be decoded",
                expected="a codec of OpenCV's FFmpeg",
                got=f"the codec {codec}, which this OpenCV cannot decode" if codec else "no frame",
                hint=self._convert(),
            )
        missing = missing_bytes(self.path)
        if missing and not self._decoded == self._declared > 0:
            raise SourceError(
                f"clip {self.path} breaks off",
                expected=f"{self._declared} frames, as its header says"
                if self._declared > self._decoded
                else f"{missing} more bytes, as its header says",
                got=f"{self._decoded} frames that can be decoded",
                hint="copy it again; its frames so far were used",
            )
        self._packets.read_all()
        last_s = self._last_clip_ns / 1e9
        tail_s = self._packets.last_s - last_s
        if tail_s > max(_MIN_TAIL_S, _TAIL_SHARE * last_s) and not hides_frames(self.path):
            raise SourceError(
                f"clip {self.path} breaks off",
                expected=f"frames up to {self._packets.last_s:.1f} s, as its packets are dated",
                got=f"none that can be decoded after {last_s:.1f} s",
                hint="check it in a player",
            )

    def _close(self) -> None:
        if self._packets is not None:
            self._packets.close()
        if self._capture is not None:
            self._capture.release()
            self._capture = None
