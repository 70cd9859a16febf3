"""The reading end of the shared-memory stream, as `edge_difom_shm.h` is for C."""

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
    """A publication that was read whole.

    Attributes:
        number: Of the publication.
        frame_index: Of the frame; None where it is of none.
        captured_ns: Of the frame.
        done_ns: When it was published.
        valid_until_ns: From when on nothing of the frame may be shown.
        state: The device's.
        reason: Why.
        has_mask: Whether mask and regions may be drawn.
        mask_area: Share of the part.
        boxes: Of the regions, x, y, width and height.
        view: Field of view.
        part: What of the frame the scores cover.
        size: Height and width of the overlay.
        scores: (h, w) score map of the engine; None without a mask.
        overlay: (H, W, 4) RGBA; of a reading without pixels nothing, (0, 0, 4).
        picture: (H, W, 3) RGB; None where it is not in the stream.
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
    """Reads the newest publication under a name, whoever writes there at the moment.

    Args:
        path: Name of the segment; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memory: mmap.mmap | None = None
        self._identity = (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether there is a segment."""
        return self._memory is not None

    def close(self) -> None:
        """Let go of the segment; the next `news` opens the name again."""
        self._memory = None  # the arrays that were handed out are copies

    def reopen(self) -> bool:
        """Open what has the name now, if it is another segment than the one that is open.

        Returns:
            Whether a segment is open.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return self.is_open
        try:
            found = os.fstat(handle)
            if self._memory is not None and (found.st_dev, found.st_ino) == self._identity:
                return True
            if found.st_size >= HEADER.itemsize:
                self._map(handle, found.st_size)
                self._identity = (found.st_dev, found.st_ino)
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
        """Number of the newest publication and the last sign of life; (0, 0) without a segment."""
        if self._memory is not None and self._header["retired"]:
            self.close()
        if self._memory is None and not self.reopen():
            return 0, 0
        newest = int(self._header["newest"])
        return newest, int(self._header["news_ns"])

    def read(self, *, pixels: bool = True) -> Snapshot | None:
        """The newest publication, copied; None where there is none, or it was overwritten again and again.

        Args:
            pixels: Copy overlay, scores and picture too.
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
        """What a slot holds; None where it cannot be so, because it is being written."""
        assert self._memory is not None
        slot = np.frombuffer(self._memory, np.uint8, self._slot_bytes, begin)
        flags, count = int(head["flags"]), int(head["regions"])
        height, width = int(head["height"]), int(head["width"])
        overlay = _part(slot, head, "overlay_at", (height, width, 4) if pixels else (0, 0, 4))
        regions = _part(slot, head, "regions_at", (count, REGION.itemsize)) if count <= MAX_REGIONS else None
        rows, columns = int(head["scores_height"]), int(head["scores_width"])
        scores = _part(slot, head, "scores_at", (rows, columns)) if rows and columns and pixels else None
        shown = flags & HAS_PICTURE and pixels
        picture = _part(slot, head, "picture_at", (height, width, 3)) if shown else None
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
            boxes=tuple((int(r["x"]), int(r["y"]), int(r["width"]), int(r["height"])) for r in boxes),
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
    """A copy of a part of a slot; None where it would lie outside."""
    begin, size = int(head[at]), 1
    for side in shape:
        size *= side
    if begin < SLOT.itemsize or begin + size > len(slot):
        return None
    part: ImageU8 = slot[begin : begin + size].reshape(shape).copy()
    return part
