"""GStreamer's Python bindings: the only module that imports `gi`.

The bindings are packages of the operating system. A virtual environment of the system's Python
version uses those; if something is missing, the error names the Debian packages.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = "python3-gi gir1.2-gstreamer-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"

ELEMENTS = ("v4l2src", "appsink", "videoconvert", "deinterlace", "jpegdec", "rtspsrc")
"""Elements that the sources of this project use."""

_SYSTEM_PYTHON = "/usr/lib/python3/dist-packages"


class Bindings(NamedTuple):
    """The initialized namespace `Gst`, and the exception of its functions (`GLib.Error`)."""

    gst: Any
    error: type[Exception]


@cache
def load() -> Bindings:
    """Load and initialize GStreamer's bindings.

    Raises:
        MissingDependencyError: They are missing, or built for a different version of Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gi uses a deprecated import interface
            return _load()
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            "GStreamer's Python bindings cannot be used",
            expected=f"module gi for Python {sys.version_info[0]}.{sys.version_info[1]}, "
            "and Gst 1.0",
            got=str(error),
            hint=f"apt-get install {PACKAGES}",
        ) from error


def elements_found(names: Iterable[str] = ELEMENTS) -> dict[str, bool]:
    """Return which elements this machine's GStreamer has; none without the bindings."""
    try:
        gst = load().gst
    except MissingDependencyError:
        return dict.fromkeys(names, False)
    return {name: gst.ElementFactory.find(name) is not None for name in names}


def _load() -> Bindings:
    # GStreamer loads libunwind, whose functions share their names with the compiler's: a C++
    # exception in a library loaded later, such as OpenVINO, would end the process. The library
    # that is loaded first wins.
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)
    try:
        import gi
    except ImportError:
        sys.path.append(_SYSTEM_PYTHON)
        try:
            import gi
        finally:
            sys.path.remove(_SYSTEM_PYTHON)
    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst

    Gst.init(None)
    return Bindings(Gst, GLib.Error)
