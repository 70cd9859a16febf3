"""The binary layout of the shared-memory stream; `edge_difom_shm.h` defines it for C.

A segment has one header and two slots, in native byte order, every part aligned to 64 bytes.
Publication n fills slot n modulo 2. Its `sequence` is odd meanwhile, and `newest` becomes n
afterwards: a reader of the newest slot has the time between two frames before the slot is
overwritten, and detects by `sequence` if that was not enough.

    header | slot 0: head, regions, scores, overlay, picture | slot 1: the same

All times are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import UsageError
from edge.status import State
from edge.util.spec import expand

MAGIC = b"EDIFOM\x00\x01"
VERSION = 2
SLOTS = 2
MAX_REGIONS = 32
MAX_REASON = 127
"""Maximum length of the reason in UTF-8, bytes; a NUL follows."""

STATE_CODES: dict[State, int] = {
    State.BOOT: 0,
    State.SELFTEST: 1,
    State.NO_SIGNAL: 2,
    State.RUNNING: 3,
    State.PAUSED: 4,
    State.DEGRADED: 5,
    State.BYPASS: 6,
}
STATES = {code: state for state, code in STATE_CODES.items()}

HAS_FRAME, HAS_MASK, HAS_PICTURE = 1, 2, 4
"""Flags of a slot: it holds a frame; its mask and regions may be drawn; it holds the image."""

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", np.uint32),
        ("header_bytes", np.uint32),
        ("slots", np.uint32),
        ("writer_pid", np.uint32),
        ("slot_bytes", np.uint64),
        ("total_bytes", np.uint64),
        ("newest", np.uint64),  # newest complete publication; 0 before the first
        ("news_ns", np.uint64),  # last heartbeat
        ("retired", np.uint64),  # not 0: this segment is abandoned, open the name again
    ],
    align=True,
)
SLOT = np.dtype(
    [
        ("sequence", np.uint64),  # odd while the slot is written
        ("number", np.uint64),  # number of the publication, from 1
        ("frame_index", np.uint64),
        ("captured_ns", np.uint64),
        ("done_ns", np.uint64),  # when the slot was filled
        ("valid_until_ns", np.uint64),  # the frame may not be shown from then on; 0: no frame
        ("since_ns", np.uint64),  # when the state began
        ("state", np.uint32),
        ("flags", np.uint32),
        ("width", np.uint32),  # size of overlay and picture
        ("height", np.uint32),
        ("scores_width", np.uint32),  # 0 without a mask
        ("scores_height", np.uint32),
        ("regions", np.uint32),
        ("mask_area", np.float32),
        ("view_x", np.int32),  # field of view; the whole frame if it is unknown
        ("view_y", np.int32),
        ("view_width", np.int32),
        ("view_height", np.int32),
        ("part_x", np.int32),  # part of the frame that the scores cover
        ("part_y", np.int32),
        ("part_width", np.int32),
        ("part_height", np.int32),
        ("regions_at", np.uint64),  # offset in the slot, bytes
        ("scores_at", np.uint64),
        ("overlay_at", np.uint64),
        ("picture_at", np.uint64),  # 0 if there is no picture
        ("reason", f"S{MAX_REASON + 1}"),
    ],
    align=True,
)
REGION = np.dtype(
    [
        ("x", np.int32),
        ("y", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("area", np.float32),
        ("score", np.float32),
    ],
    align=True,
)


def aligned(size: int) -> int:
    """Round up to the next multiple of 64 bytes."""
    return -(-size // 64) * 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Memory layout of a slot for frames and scores up to a size.

    Args:
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
        scores: Maximum number of pixels of the score map.
        picture: Whether there is room for the image.
    """

    height: int
    width: int
    scores: int
    picture: bool

    @property
    def offsets(self) -> tuple[int, int, int, int]:
        """Offsets of regions, scores, overlay and picture in the slot, bytes."""
        regions = aligned(SLOT.itemsize)
        scores = regions + aligned(MAX_REGIONS * REGION.itemsize)
        overlay = scores + aligned(self.scores)
        return regions, scores, overlay, overlay + aligned(4 * self.height * self.width)

    @property
    def slot_bytes(self) -> int:
        """Size of one slot, bytes."""
        return self.offsets[3] + (aligned(3 * self.height * self.width) if self.picture else 0)

    @property
    def total_bytes(self) -> int:
        """Size of the segment, bytes."""
        return aligned(HEADER.itemsize) + SLOTS * self.slot_bytes


_lock = threading.Lock()


def fence() -> None:
    """Full memory barrier: no load or store moves across this point.

    A release orders what comes before it, an acquire what comes after it. One pair alone allows
    them to be swapped; with two pairs the first release stays before the second acquire.
    """
    for _ in range(2):
        _lock.acquire()
        _lock.release()


def segment_path(name: str) -> Path:
    """Return the path of a segment; a name without a slash is one of POSIX shared memory.

    Raises:
        UsageError: The name is empty or names a folder.
    """
    if name in ("", ".", ".."):
        raise UsageError(
            "the shm sink needs a name", expected="shm:NAME or shm:/PATH", got=repr(name)
        )
    return expand(name) if "/" in name else Path("/dev/shm") / name
