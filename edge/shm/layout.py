"""The binary layout of the shared-memory stream; `edge_difom_shm.h` is the same for C.

A file of one header and two slots, native byte order, every part aligned to 64 bytes. Publication n fills slot
n modulo 2: its `sequence` is odd meanwhile, and `newest` becomes n afterwards, so that a reader of the newest slot
has the time between two frames before it is overwritten, and sees by `sequence` where that was too little.

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

MAGIC = b"EDIFOM\x00\x01"
VERSION = 2
SLOTS = 2
MAX_REGIONS = 32
MAX_REASON = 127
"""Bytes of the reason's UTF-8 text; a NUL follows."""

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
"""Flags of a slot: it is of a frame; mask and regions may be drawn; the frame's picture is in it."""

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", np.uint32),
        ("header_bytes", np.uint32),
        ("slots", np.uint32),
        ("writer_pid", np.uint32),
        ("slot_bytes", np.uint64),
        ("total_bytes", np.uint64),
        ("newest", np.uint64),  # publication that is whole; 0 before the first
        ("news_ns", np.uint64),  # last sign of life
        ("retired", np.uint64),  # not 0: nothing comes any more, open the name again
    ],
    align=True,
)
SLOT = np.dtype(
    [
        ("sequence", np.uint64),  # odd while the slot is written
        ("number", np.uint64),  # of the publication, from 1
        ("frame_index", np.uint64),
        ("captured_ns", np.uint64),
        ("done_ns", np.uint64),  # when the slot was filled
        ("valid_until_ns", np.uint64),  # nothing of a frame may be shown from then on; 0: no frame
        ("since_ns", np.uint64),  # when the state began
        ("state", np.uint32),
        ("flags", np.uint32),
        ("width", np.uint32),  # of overlay and picture
        ("height", np.uint32),
        ("scores_width", np.uint32),  # 0 without a mask
        ("scores_height", np.uint32),
        ("regions", np.uint32),
        ("mask_area", np.float32),
        ("view_x", np.int32),  # field of view; the whole frame where it was not looked for
        ("view_y", np.int32),
        ("view_width", np.int32),
        ("view_height", np.int32),
        ("part_x", np.int32),  # what of the frame the scores cover
        ("part_y", np.int32),
        ("part_width", np.int32),
        ("part_height", np.int32),
        ("regions_at", np.uint64),  # bytes from the slot's begin
        ("scores_at", np.uint64),
        ("overlay_at", np.uint64),
        ("picture_at", np.uint64),  # 0 without room for a picture
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
    """The next multiple of 64 bytes."""
    return -(-size // 64) * 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the parts of a slot lie, for frames and scores up to a size.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        scores: Most pixels of the score map.
        picture: Room for the frame's picture.
    """

    height: int
    width: int
    scores: int
    picture: bool

    @property
    def offsets(self) -> tuple[int, int, int, int]:
        """Of regions, scores, overlay and picture, bytes from the slot's begin."""
        regions = aligned(SLOT.itemsize)
        scores = regions + aligned(MAX_REGIONS * REGION.itemsize)
        overlay = scores + aligned(self.scores)
        return regions, scores, overlay, overlay + aligned(4 * self.height * self.width)

    @property
    def slot_bytes(self) -> int:
        """Of one slot."""
        return self.offsets[3] + (aligned(3 * self.height * self.width) if self.picture else 0)

    @property
    def total_bytes(self) -> int:
        """Of the file."""
        return aligned(HEADER.itemsize) + SLOTS * self.slot_bytes


_lock = threading.Lock()


def fence() -> None:
    """Keep loads and stores before this point before those after it, on processors that reorder them as well.

    A release orders what comes before it, an acquire what comes after; of two pairs the first release and the
    second acquire stay in order, which one pair alone does not promise.
    """
    for _ in range(2):
        _lock.acquire()
        _lock.release()


def segment_path(name: str) -> Path:
    """Where a segment lies: a name is one of POSIX shared memory, anything with a slash is a path.

    Raises:
        UsageError: No name.
    """
    if name in ("", ".", ".."):
        raise UsageError("the shm sink needs a name", expected="shm:NAME or shm:/PATH", got=repr(name))
    return Path(name) if "/" in name else Path("/dev/shm") / name
