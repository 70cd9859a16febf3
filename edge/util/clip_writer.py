"""Writes an MP4 file with OpenCV's FFmpeg, and tells whether it became whole.

Codecs that OpenCV's FFmpeg offers: `h264` if the build has an encoder (the PyPI wheel has none);
`mp4v` (MPEG-4 part 2) in every build, about 4 ms for a frame of 560x480 on an x86 core, played by
players but not by browsers; `vp9`, played by browsers, but OpenCV cannot set its effort and a frame
takes tens to hundreds of milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import MissingDependencyError
from edge.util.clip_name import ffmpeg_name
from edge.util.container import is_whole_mp4
from edge.util.ffmpeg import quiet
from edge.util.files import PRIVATE_FILE, naming

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8

CODECS = {"h264": "avc1", "mp4v": "mp4v", "vp9": "vp09"}
"""Name to the FourCC code that OpenCV uses for it."""

_MAX_TICKS = 65535
"""Largest denominator of the time base in MPEG-4 part 2."""


class ClipWriter:
    """Encodes frames into a file with private permissions; the first frame determines the size.

    Frames of other sizes are fitted into it on black. The file is created at once, and is a clip
    only after `close`.

    Args:
        path: File to write; an existing one is overwritten.
        fps: Frames per second.
        codec: One of `CODECS`; None for `h264`, or `mp4v` if there is no encoder for it.
        shown: Path to name in errors; None for `path`.

    Attributes:
        codec: The codec in use, once a frame was written.
        size: Height and width of the clip; zeros before the first frame.
        written: Number of frames.

    Raises:
        OSError: The file cannot be created.
    """

    def __init__(
        self, path: Path, *, fps: float, codec: str | None = None, shown: Path | None = None
    ) -> None:
        self.path, self.fps, self.codec = path, encodable_rate(fps), codec
        self.size, self.written = (0, 0), 0
        self._shown = shown or path
        self._writer: Any = None
        # FFmpeg keeps the permissions of the file that it overwrites.
        path.touch(mode=PRIVATE_FILE)

    def put(self, picture: ImageU8) -> None:
        """Encode a frame, (H, W, 3) uint8 BGR.

        OpenCV does not report that the disk is full; `close` does.

        Raises:
            MissingDependencyError: OpenCV has no encoder.
        """
        if self._writer is None:
            self.size = (picture.shape[0], picture.shape[1])
            self._writer = self._open()
        with quiet():
            self._writer.write(fit(picture, self.size))
        self.written += 1

    def close(self) -> bool:
        """End the file; return whether it is a whole clip, which one without frames is not."""
        writer, self._writer = self._writer, None
        if writer is None:
            return False
        writer.release()
        return is_whole_mp4(self.path)

    def _open(self) -> Any:
        names = [self.codec] if self.codec else ["h264", "mp4v"]
        for name in names:
            fourcc = cv2.VideoWriter.fourcc(*CODECS[name])
            with naming(self._shown), ffmpeg_name(self.path) as path, quiet():
                writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, fourcc, self.fps, self.size[::-1])
            if writer.isOpened():
                self.codec = name
                return writer
        raise MissingDependencyError(
            f"{self._shown} cannot be encoded",
            expected=f"an OpenCV with FFmpeg and an encoder for {' or '.join(names)}",
            got=f"OpenCV {cv2.__version__} refuses {self.size[1]}x{self.size[0]} frames",
            hint="pip install --force-reinstall opencv-python-headless",
        )


def encodable_rate(fps: float) -> float:
    """Return a rate that MPEG-4 part 2 can hold: as many decimals as its time base allows."""
    for decimals in (3, 2, 1):
        if round(fps * 10**decimals) <= _MAX_TICKS:
            return round(fps, decimals)
    return float(round(fps))


def fit(picture: ImageU8, size: tuple[int, int]) -> ImageU8:
    """Return a picture at a size, (height, width), scaled as a whole and centered on black."""
    if picture.shape[:2] == size:
        return picture
    height, width = size
    scale = min(height / picture.shape[0], width / picture.shape[1])
    h, w = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    fitted[top : top + h, left : left + w] = cv2.resize(
        picture, (w, h), interpolation=cv2.INTER_AREA
    )
    return fitted
