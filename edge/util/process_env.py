"""Settings of the whole process that the device needs.

Importing a module of this project changes nothing in the process that imports it. Programs call
these functions explicitly: the command line through `edge_difom.runtime_env`, the workers when they
start. A host application that imports `edge` as a library keeps its own settings.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUIET = "-8"
"""AV_LOG_QUIET."""


def quiet_ffmpeg() -> None:
    """Keep OpenCV's FFmpeg from printing; the errors of this project replace its messages.

    FFmpeg reads the variable once, when the process opens or writes its first clip. A value that
    the user set is kept.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)


def configure_worker() -> None:
    """Settings of a process that runs an engine and nothing else."""
    import cv2

    quiet_ffmpeg()
    cv2.setNumThreads(1)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Run OpenCV in one thread while an engine owns the cores; restore its threads at the end.

    A second thread saves half a millisecond of a resize and costs more CPU time than that.
    """
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
