"""What tests ask of processes: of a child whether it runs, of this one what it holds open."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def handles() -> int:
    """Open file descriptors of this process, less those of garbage."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
