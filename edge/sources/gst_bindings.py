"""GStreamer's Python bindings: the only module that knows `gi`.

They come with the system, not from an index. A virtual environment of the system's Python version takes the
distribution's; what is missing is named by its Debian packages.
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
"""What the sources of this project are made of."""

_SYSTEM_PYTHON = "/usr/lib/python3/dist-packages"


class Bindings(NamedTuple):
    """The namespace `Gst`, initialised, and what its functions raise (`GLib.Error`)."""

    gst: Any
    error: type[Exception]


@cache
def load() -> Bindings:
    """GStreamer's bindings, initialised.

    Raises:
        MissingDependencyError: They are not there, or made for another version of Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gi's importer has an interface that Python gave up
            return _load()
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            "GStreamer's Python bindings cannot be used",
            expected=f"module gi for Python {sys.version_info[0]}.{sys.version_info[1]}, and Gst 1.0",
            got=str(error),
            hint=f"apt-get install {PACKAGES}",
        ) from error


def elements_found(names: Iterable[str] = ELEMENTS) -> dict[str, bool]:
    """Which elements this machine's GStreamer has; none without the bindings."""
    try:
        gst = load().gst
    except MissingDependencyError:
        return dict.fromkeys(names, False)
    return {name: gst.ElementFactory.find(name) is not None for name in names}


def _load() -> Bindings:
    # GStreamer brings libunwind into the process, whose functions have the names of the compiler's own: a C++ exception
    # of what is loaded later, such as OpenVINO, would end the process. First come is first found.
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
