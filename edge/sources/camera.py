"""`v4l2:DEVICE`: a camera, read by GStreamer if it is installed and by OpenCV otherwise.

OpenCV cannot detect lost or damaged frames; the description of its source says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.sources.gst_bindings import elements_found
from edge.sources.gst_sources import GstCameraSource
from edge.sources.opencv_camera import V4l2Source
from edge.sources.options import CameraOptions

if TYPE_CHECKING:
    from edge.sources.base import BaseSource
    from edge.util.spec import Spec

BACKENDS: dict[str, Any] = {"gstreamer": GstCameraSource, "opencv": V4l2Source}
"""Name to source class, best first."""

_NEEDED = ("v4l2src", "appsink", "videoconvert")


class CameraSource:
    """Chooses the library that reads a camera."""

    @classmethod
    def from_spec(cls, spec: Spec) -> BaseSource:
        """Build the source of `v4l2:DEVICE` with the options of `CameraOptions`.

        Raises:
            UsageError: An option does not fit.
        """
        backend = spec.read(CameraOptions).backend
        if backend is None:
            backend = "gstreamer" if all(elements_found(_NEEDED).values()) else "opencv"
        source: BaseSource = BACKENDS[backend].from_spec(spec)
        return source
