"""Names of clips as FFmpeg can open them, and what is wrong with a path that is none."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_clip(path: Path) -> None:
    """Check that a path is a file that can be read.

    Raises:
        SourceError: It is not; the error says why.
    """
    reason, hint = "", "check the path"
    try:
        mode = path.stat().st_mode
    except PermissionError:
        reason, hint = "no permission for its folder", "allow this user to read it"
    except (OSError, ValueError):
        reason = "no such file"
        if "?" in path.name:
            hint = (
                "check the path; a file name that ends in `?key=value` is closed with one more `?`"
            )
    else:
        if stat.S_ISDIR(mode):
            reason, hint = "a folder", f"images:{path}"
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            reason, hint = "a pipe", "clips are read twice; save the stream as a file first"
        elif not stat.S_ISREG(mode):
            reason, hint = "a device", "v4l2:DEVICE reads a camera"
        elif not os.access(path, os.R_OK):
            reason, hint = "no permission to read it", "allow this user to read it"
    if reason:
        raise SourceError(
            f"clip {path} cannot be read", expected="a video file", got=reason, hint=hint
        )


@contextmanager
def ffmpeg_name(path: Path) -> Iterator[str]:
    """Yield a name under which FFmpeg opens or makes a file while the block runs.

    The name is absolute, so that a colon in it does not look like a protocol. A path that is not
    UTF-8 is reached through a descriptor, because OpenCV ends the process on such names.

    Args:
        path: A file; one that does not exist yet must have a name in UTF-8.

    Raises:
        OSError: The file or its folder cannot be opened.
    """
    path = path.absolute()
    if _is_utf8(str(path)):
        yield str(path)
        return
    itself = not _is_utf8(path.name)
    handle = os.open(path if itself else path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        base = f"/proc/self/fd/{handle}"
        yield base if itself else f"{base}/{path.name}"
    finally:
        os.close(handle)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(path: Path | str) -> str:
    """Return a path as text that every terminal and JSON takes: bytes outside UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
