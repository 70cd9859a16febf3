"""A camera or capture card that OpenCV reads in a thread, keeping only the newest frame.

OpenCV reports a lost device only by a failed read, and hides the format that it converts from. A
device that delivers nothing for a while, or a frame of a different size, ends the source with an
error.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from edge.errors import SourceError
from edge.imaging.buffer_pool import BufferPool
from edge.sources.base import MAX_STAMP_AGE_NS, BaseSource
from edge.sources.camera_discovery import choices, find_cameras, open_trouble, pick_cameras
from edge.sources.latest_frame import NewestFrame
from edge.sources.options import CameraOptions
from edge.util.ffmpeg import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.util.spec import Spec

_DEFAULT_STALL_MS = 1000


class V4l2Source(BaseSource):
    """Frames of a camera.

    Args:
        device: Path, number, name under `/dev/v4l/by-id`, or empty for the first one that works.
        width: Requested width, pixels; the device may choose a different one.
        height: Requested height, pixels.
        fps: Requested frames per second.
        stall_ms: Milliseconds that a frame may be late before the source fails.
        start_ms: Milliseconds that the first frame may take.
        capture: Opens a device node as `cv2.VideoCapture` does.
        root: Folder that contains `dev` and `sys`.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    live = True

    def __init__(
        self,
        device: str = "",
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        stall_ms: int = _DEFAULT_STALL_MS,
        start_ms: int = 5000,
        capture: Callable[[str], Any] | None = None,
        root: Path = Path("/"),
        **timing: Any,
    ) -> None:
        super().__init__(**timing)
        self.device, self.description = device, f"camera {device or '(first that works)'}"
        self._requested = {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: fps,
        }
        self._stall_s, self._start_s = stall_ms / 1e3, start_ms / 1e3
        self._capture = capture or (lambda node: cv2.VideoCapture(node, cv2.CAP_V4L2))
        self._root = root
        self._newest: NewestFrame | None = None
        self._memory = BufferPool()
        self._shape: tuple[int, ...] | None = None
        self.kernel_stamps = False

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `v4l2:DEVICE` with the options of `CameraOptions`."""
        options = spec.read(CameraOptions)
        source = cls(
            spec.target,
            width=options.width,
            height=options.height,
            fps=options.fps,
            stall_ms=options.stall_ms or _DEFAULT_STALL_MS,
            start_ms=options.start_ms,
        )
        source.reopens = options.reopen
        return source

    def _open(self) -> None:
        self._shape = None
        failures = []
        for camera in pick_cameras(self.device, self._root):
            problem = self._start(camera.node)
            if not problem:
                self.lasting = camera.lasting
                return
            failures.append(f"{camera.node}: {problem}")
        raise SourceError(
            f"camera {self.device} gives no picture"
            if self.device
            else "no camera gives a picture",
            expected="a V4L2 device that delivers frames",
            got="; ".join(failures),
            hint=choices(find_cameras(self._root)),
        )

    def _start(self, node: str) -> str:
        """Open a node and wait for its first image; return what went wrong, or an empty text."""
        if trouble := open_trouble(node):
            return trouble
        with quiet():
            capture = self._capture(node)
        if not capture.isOpened():
            capture.release()
            return "cannot be opened; a different program may be using it"
        for key, value in self._requested.items():
            if value is not None:
                capture.set(key, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        newest = NewestFrame(
            lambda: self._grab(capture, node), release=capture.release, name=f"capture {node}"
        )
        self._newest = newest.__enter__()
        if not newest.wait(self._start_s):
            newest.close()
            return f"opened, but no frame within {self._start_s:g} s"
        if self._shape is None:
            newest.close()
            return "opened, but its first read failed"
        declared = capture.get(cv2.CAP_PROP_FPS)
        self.fps = declared if 1 <= declared <= 1000 else None
        pace = f" at {self.fps:g} fps" if self.fps else ""
        stamps = "kernel stamps" if self.kernel_stamps else "stamped when read"
        self.description = (
            f"camera {node}, {self._shape[1]}x{self._shape[0]}{pace}, {stamps}, through OpenCV, "
            "which tells neither lost nor damaged frames"
        )
        return ""

    def _grab(self, capture: Any, node: str) -> Frame:
        good, image = capture.read()
        now = self._clock()
        if not good or image is None:
            raise SourceError(
                f"camera {node} stopped delivering",
                expected="a frame",
                got="a failed read",
                hint="check cable and power",
                code="camera-failed",
            )
        if self._shape is not None and image.shape != self._shape:
            raise SourceError(
                f"camera {node} changed its format",
                expected=f"{self._shape[1]}x{self._shape[0]}",
                got=f"{image.shape[1]}x{image.shape[0]}",
                hint="start again",
            )
        self._shape = image.shape
        stamp = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        # Some drivers stamp with the wall clock or not at all.
        self.kernel_stamps = 0 <= now - stamp <= MAX_STAMP_AGE_NS
        return self._frame(
            self._memory.copy(image), captured_ns=stamp if self.kernel_stamps else now
        )

    def _next(self) -> Frame | None:
        assert self._newest is not None
        try:
            return self._newest.next_frame(self._stall_s)
        except TimeoutError as error:
            raise SourceError(
                f"{self.description} stalls",
                expected=f"a frame at least every {self._stall_s:g} s",
                got="none, without an error of the driver",
                hint="check cable and power, or allow more time with the option stall_ms",
            ) from error

    def _close(self) -> None:
        if self._newest is not None:
            self._newest.close()
            self._newest = None
