"""OpenCV without its own messages about clips: the errors of this project replace them.

FFmpeg prints on its own; `edge.util.process_env.quiet_ffmpeg` stops that for the whole process.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress OpenCV's messages about files and devices that cannot be opened."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
