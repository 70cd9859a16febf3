"""OpenCV without its own messages about clips: the errors of this project replace them.

FFmpeg prints on its own; `edge.util.process_env.quiet_ffmpeg` stops that for the whole process.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    from collections.abc import Iterator


_SILENT = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress OpenCV's messages about files and devices that cannot be opened."""
    # OpenCV has these functions in a module from 4.13 on, and at its top level before.
    home: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    set_level = home.setLogLevel
    before = set_level(_SILENT)
    try:
        yield
    finally:
        set_level(before)
