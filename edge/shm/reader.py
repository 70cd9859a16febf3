"""Reads the shared-memory stream, as `edge_difom_shm.h` does for C."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.shm.layout import (
    HAS_FRAME,
    HAS_MASK,
    HAS_PICTURE,
    HEADER,
    MAGIC,
    MAX_REGIONS,
    REGION,
    SLOT,
    SLOTS,
    STATES,
    VERSION,
    fence,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8
    from edge.status import State

_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent copy of a publication. All times are CLOCK_MONOTONIC nanoseconds.

    Attributes:
        number: Number of the publication.
        frame_index: Number of the frame; None if the publication has no frame.
        captured_ns: Capture time of the frame.
        done_ns: Time of the publication.
        valid_until_ns: Time from which the frame may no longer be shown.
        state: State of the device.
        reason: Reason of the state or of the missing mask.
        has_mask: Whether mask and regions may be drawn.
        mask_area: Share of `part` that the mask covers, 0 to 1.
        boxes: Boxes of the regions, frame pixels.
        view: Field of view, frame pixels.
        part: Part of the frame that the scores cover, frame pixels.
        size: Height and width of the overlay, pixels.
        scores: (h, w) uint8 score map in 1/256; None without a mask.
        overlay: (H, W, 4) uint8 RGBA; (0, 0, 4) if it was read without pixels.
        picture: (H, W, 3) uint8 RGB; None if it is not in the stream.
    """

    number: int
    frame_index: int | None
    captured_ns: int
    done_ns: int
    valid_until_ns: int
    state: State
    reason: str
    has_mask: bool
    mask_area: float
    boxes: tuple[Box, ...]
    view: Box
    part: Box
    size: tuple[int, int]
    scores: ImageU8 | None
    overlay: ImageU8
    picture: ImageU8 | None


class SegmentReader:
    """Reads the newest publication under a name, whichever writer owns it at the moment.

    Args:
        path: Path of the segment; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memory: mmap.mmap | None = None
        self._header: NDArray[Any] | None = None
        self._begin = self._slot_bytes = 0
        self._identity = (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether a segment is open."""
        return self._memory is not None

    def close(self) -> None:
        """Close the segment; the next `news` opens the name again."""
        self._memory = self._header = None  # the arrays that were handed out are copies

    def reopen(self) -> bool:
        """Open the segment that has the name now, unless it is open already.

        Returns:
            Whether a segment is open.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return self.is_open
        try:
            info = os.fstat(handle)
            if self._memory is not None and (info.st_dev, info.st_ino) == self._identity:
                return True
            if info.st_size >= HEADER.itemsize:
                self._map(handle, info.st_size)
                self._identity = (info.st_dev, info.st_ino)
        except (OSError, ValueError):
            return self.is_open
        finally:
            os.close(handle)
        return self.is_open

    def _map(self, handle: int, size: int) -> None:
        memory = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        head = _record(memory, 0, HEADER)
        header_bytes, slot_bytes = int(head["header_bytes"]), int(head["slot_bytes"])
        if (
            head["magic"] == MAGIC
            and head["version"] == VERSION
            and head["slots"] == SLOTS
            and header_bytes >= HEADER.itemsize
            and slot_bytes >= SLOT.itemsize
            and header_bytes + SLOTS * slot_bytes <= size
        ):
            self._memory, self._header = memory, head
            self._begin, self._slot_bytes = header_bytes, slot_bytes

    def news(self) -> tuple[int, int]:
        """Return the number of the newest publication and the last heartbeat; (0, 0) if none."""
        if self._header is not None and self._header["retired"]:
            self.close()
        if self._header is None:
            self.reopen()
        if self._header is None:
            return 0, 0
        newest = int(self._header["newest"])
        return newest, int(self._header["news_ns"])

    def read(self, *, pixels: bool = True) -> Snapshot | None:
        """Copy the newest publication.

        Args:
            pixels: Whether overlay, scores and picture are copied too.

        Returns:
            The copy; None if there is none, or if it was overwritten repeatedly.
        """
        for _ in range(_ATTEMPTS):
            number, _ = self.news()
            if number == 0 or self._memory is None:
                return None
            fence()
            begin = self._begin + number % SLOTS * self._slot_bytes
            live = _record(self._memory, begin, SLOT)
            sequence = int(live["sequence"])
            if sequence % 2:
                continue
            fence()
            head = live.copy()
            snapshot = self._copy(begin, head, pixels=pixels)
            fence()
            if snapshot is not None and int(live["sequence"]) == sequence:
                return snapshot
        return None

    def _copy(self, begin: int, head: NDArray[Any], *, pixels: bool) -> Snapshot | None:
        """Copy a slot; None if its content is inconsistent, because it is being written."""
        assert self._memory is not None
        slot = np.frombuffer(self._memory, np.uint8, self._slot_bytes, begin)
        flags, count = int(head["flags"]), int(head["regions"])
        height, width = int(head["height"]), int(head["width"])
        overlay = _part(slot, head, "overlay_at", (height, width, 4) if pixels else (0, 0, 4))
        regions = (
            _part(slot, head, "regions_at", (count, REGION.itemsize))
            if count <= MAX_REGIONS
            else None
        )
        rows, columns = int(head["scores_height"]), int(head["scores_width"])
        scores = (
            _part(slot, head, "scores_at", (rows, columns)) if rows and columns and pixels else None
        )
        has_picture = flags & HAS_PICTURE and pixels
        picture = _part(slot, head, "picture_at", (height, width, 3)) if has_picture else None
        if overlay is None or regions is None or int(head["state"]) not in STATES:
            return None
        boxes = regions.view(REGION).reshape(count)
        return Snapshot(
            number=int(head["number"]),
            frame_index=int(head["frame_index"]) if flags & HAS_FRAME else None,
            captured_ns=int(head["captured_ns"]),
            done_ns=int(head["done_ns"]),
            valid_until_ns=int(head["valid_until_ns"]),
            state=STATES[int(head["state"])],
            reason=head["reason"].item().decode(errors="replace"),
            has_mask=bool(flags & HAS_MASK),
            mask_area=float(head["mask_area"]),
            boxes=tuple(
                (int(r["x"]), int(r["y"]), int(r["width"]), int(r["height"])) for r in boxes
            ),
            view=_box(head, "view"),
            part=_box(head, "part"),
            size=(height, width),
            scores=scores,
            overlay=overlay,
            picture=picture,
        )


def _box(head: NDArray[Any], name: str) -> Box:
    x, y, width, height = (int(head[f"{name}_{side}"]) for side in ("x", "y", "width", "height"))
    return x, y, width, height


def _record(memory: mmap.mmap, at: int, kind: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(memory, kind, 1, at).reshape(())


def _part(slot: ImageU8, head: NDArray[Any], at: str, shape: tuple[int, ...]) -> ImageU8 | None:
    """Copy a part of a slot; None if it would lie outside."""
    begin, size = int(head[at]), 1
    for side in shape:
        size *= side
    if begin < SLOT.itemsize or begin + size > len(slot):
        return None
    part: ImageU8 = slot[begin : begin + size].reshape(shape).copy()
    return part
