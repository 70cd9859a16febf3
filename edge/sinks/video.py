"""`video:PATH.mp4`: the frames with the overlay as a clip.

Codecs, as OpenCV's FFmpeg offers them: `h264` where the build has an encoder (the PyPI wheel has none); `mp4v`,
MPEG-4 part 2, in every build, some 4 ms a frame of 560x480 on a x86 core, shown by players but not by browsers;
`vp9`, shown by browsers, but OpenCV has no way to set its effort and a frame takes tens to hundreds of milliseconds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import DataError, MissingDependencyError, UsageError
from edge.ffmpeg import quiet
from edge.files import refuse_existing
from edge.overlay import overlay
from edge.sinks.base import BaseSink

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.types import Frame, ImageU8, Result

CODECS = {"h264": "avc1", "mp4v": "mp4v", "vp9": "vp09"}
"""Name -> the four letters that OpenCV knows it by."""

_USUAL_FPS = 25.0


class VideoSink(BaseSink):
    """A clip of the overlay, whole or absent: it takes its name when it is closed.

    The first frame fixes the size; frames of other sizes are fitted into it on black.

    Args:
        path: Ends in `.mp4`.
        fps: Frames per second to play at.
        codec: One of `CODECS`; None takes `h264`, and `mp4v` where there is no encoder for it.
        force: Replace a file that exists.

    Raises:
        UsageError: `path` exists, or path or codec cannot be used.
    """

    def __init__(
        self, path: Path, *, fps: float | None = None, codec: str | None = None, force: bool = False
    ) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(
                "the video sink needs a path", expected="a file ending in .mp4", got=repr(str(path))
            )
        if codec is not None and codec not in CODECS:
            raise UsageError(f"unknown codec {codec!r}", expected=" | ".join(CODECS))
        refuse_existing(path, force=force)
        self.path, self.fps = path, fps or _USUAL_FPS
        self.codec = codec
        self._temporary = path.with_name(f".{path.stem}.partial{os.getpid()}.mp4")
        self._writer: Any = None
        self._size = (0, 0)

    @classmethod
    def from_text(cls, target: str, *, fps: float | None, force: bool) -> Self:
        """The sink of `PATH[?codec=NAME]`."""
        path, _, codec = target.partition("?codec=")
        return cls(Path(path), fps=fps, codec=codec or None, force=force)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Where it cannot be written, this says so with the path; OpenCV would only report failure.
        self._temporary.touch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is None:
                return
            writer.release()
            if self._temporary.stat().st_size == 0:
                raise DataError(
                    f"{self.path} could not be written", got="an empty file", mend="free disk space"
                )
            self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, frame: Frame, result: Result) -> None:
        """Draw and encode a frame.

        Raises:
            MissingDependencyError: OpenCV has no encoder for it.
        """
        picture = overlay(frame.image, result)
        if self._writer is None:
            self._size = picture.shape[:2]
            self._writer = self._open()
        self._writer.write(picture if picture.shape[:2] == self._size else _fit(picture, self._size))

    def _open(self) -> Any:
        names = [self.codec] if self.codec else ["h264", "mp4v"]
        for name in names:
            fourcc = cv2.VideoWriter.fourcc(*CODECS[name])
            size = self._size[::-1]
            with quiet():
                writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, fourcc, self.fps, size)
            if writer.isOpened():
                self.codec = name
                return writer
        raise MissingDependencyError(
            f"{self.path} cannot be encoded",
            expected=f"an OpenCV with FFmpeg and an encoder for {' or '.join(names)}",
            got=f"OpenCV {cv2.__version__} refuses {self._size[1]}x{self._size[0]} frames",
            mend="pip install --force-reinstall opencv-python-headless",
        )


def _fit(picture: ImageU8, size: tuple[int, int]) -> ImageU8:
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    h, w = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    fitted[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    return fitted
