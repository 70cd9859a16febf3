"""`v4l2:DEVICE`: a camera through GStreamer where it is there, else through OpenCV, which can do less and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.errors import UsageError
from edge.sources.gst_bindings import elements_found
from edge.sources.gst_sources import GstCameraSource
from edge.sources.opencv_camera import V4l2Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.sources.base import BaseSource

BACKENDS: dict[str, Any] = {"gstreamer": GstCameraSource, "opencv": V4l2Source}
"""What reads a camera, the better first."""

_NEEDED = ("v4l2src", "appsink", "videoconvert")


class CameraSource:
    """Chooses what reads a camera."""

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> BaseSource:
        """A device with options `width`, `height`, `fps`, `stall_ms`, `start_ms`, and `backend`.

        Raises:
            UsageError: An option does not fit.
        """
        left = dict(options)
        backend = left.pop("backend", "")
        if backend and backend not in BACKENDS:
            raise UsageError(
                "option 'backend' of v4l2: does not fit", expected=" | ".join(BACKENDS), got=backend
            )
        if not backend:
            backend = "gstreamer" if all(elements_found(_NEEDED).values()) else "opencv"
        source: BaseSource = BACKENDS[backend].from_text(target, left)
        return source
