"""Where the rows of a cache come from: a teacher that looks at frames, or a finer cache."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from distill.data.made_ahead import made_ahead
from distill.teachers.base import resample
from distill.teachers.cache.blocks import BLOCK, checksum
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from distill.teachers.base import Teacher
    from distill.teachers.cache.blocks import BlockStore
    from edge.frame import ImageU8

    MapRows = NDArray[np.float16]

MIN_CHANGE = 2e-3
"""Least root mean square difference between frames of a teacher's maps, as a share of the maps'
own; twice the precision of float16."""
MIN_FRAME_CHANGE = 2.0
"""Difference between frames, in gray levels, from which they count as different frames."""
PROBED = 8
"""Frames at which a teacher looks before another teacher spends hours."""
CPU_BATCH, CPU_SIDE = 8, 512
"""Frames of `CPU_SIDE` pixels that a CPU computes together; fewer of larger ones."""
MEMORY_SHARE = 0.5
"""Share of the free memory of a GPU that a batch may take."""
_THUMB = 8


class FrameSource(Protocol):
    """Frames in a fixed order: `distill.data.frames.Frames`."""

    @property
    def key(self) -> str:
        """Hash of the contents."""
        ...

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def batch(self, rows: slice, size: int) -> ImageU8:
        """Some frames, stretched to a square: (B, size, size, 3) uint8 RGB."""
        ...


class Rows(Protocol):
    """Makes the rows of a cache."""

    def make(self, block: slice, done: Callable[[int], None]) -> MapRows:
        """Rows (B, C, h, w) of a block; `done` is called with how many of them are made."""
        ...


class TeacherRows:
    """Rows that a teacher computes, on its own grid.

    Args:
        teacher: Frozen teacher, on the device that it shall run on.
        frames: What it looks at.
        batch_size: Frames per call of the teacher; None chooses by its size and the free memory.
    """

    def __init__(self, teacher: Teacher, frames: FrameSource, batch_size: int | None) -> None:
        self.teacher, self.frames, self._batch_size = teacher, frames, batch_size
        self.device = next(iter(teacher.parameters())).device

    def make(self, block: slice, done: Callable[[int], None]) -> MapRows:
        """Rows of a block.

        Raises:
            DataError: A frame cannot be read, a value does not fit float16, or the maps are the
                same for different frames.
        """
        if self._batch_size is None:
            self._batch_size = _fitting_batch(self.teacher, self.device)
        edges = [*range(block.start, block.stop, self._batch_size), block.stop]
        return self._computed([slice(*edge) for edge in pairwise(edges)], done)

    def probe(self) -> None:
        """Look at a few frames and raise as `make` does, without keeping their rows."""
        step = max(1, len(self.frames) // PROBED)
        places = range(0, len(self.frames), step)[:PROBED]
        self._computed([slice(place, place + 1) for place in places], lambda _: None)

    def _computed(self, batches: Sequence[slice], done: Callable[[int], None]) -> MapRows:
        parts, thumbs = [], []
        # The next frames are read while the teacher computes.
        read = made_ahead(lambda part: self.frames.batch(part, self.teacher.size), iter(batches), 1)
        for images in read:
            batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
            parts.append(self.teacher.features(batch).half().cpu().numpy())
            thumbs.append(resample(batch.float(), (_THUMB, _THUMB)).cpu().numpy())
            done(sum(map(len, parts)))
        rows = np.concatenate(parts)
        if not np.isfinite(rows).all():
            raise DataError(
                f"teacher {self.teacher.name} gave values that float16 cannot hold",
                got=f"rows {batches[0].start} to {batches[-1].stop - 1}",
                hint="check the teacher's checkpoint",
            )
        self._refuse_constant(rows, np.concatenate(thumbs))
        return rows

    def _refuse_constant(self, rows: MapRows, thumbs: NDArray[np.float32]) -> None:
        """Refuse maps that do not depend on the frame, if the frames differ."""
        if _change(thumbs) < MIN_FRAME_CHANGE:
            return
        values = rows.astype(np.float32)
        change = _change(values) / max(float(np.sqrt(np.mean(values**2))), 1e-12)
        if change < MIN_CHANGE:
            raise DataError(
                f"teacher {self.teacher.name} gives the same map for every frame",
                expected="maps that depend on the frame",
                got=f"{change:.1e} of their size as the difference between {len(rows)} frames",
                hint="its weights are random, missing or of a different network: check its source",
            )


class ReducedRows:
    """Rows of a finer cache on a smaller grid.

    Args:
        own: Files of the finer cache.
        teacher: Computes what those files lack.
        grid: gh, gw.
    """

    def __init__(self, own: BlockStore, teacher: TeacherRows, grid: tuple[int, int]) -> None:
        self._own, self._teacher, self._grid = own, teacher, grid
        self._opened = own.finished()

    def make(self, block: slice, done: Callable[[int], None]) -> MapRows:
        """Rows of a block; raises as `TeacherRows.make` does."""
        rows = self._read_block(block)
        if rows is None:
            rows = self._teacher.make(block, done)
        reduced = resample(torch.from_numpy(rows.astype(np.float32)), self._grid)
        return reduced.half().numpy()

    def _read_block(self, block: slice) -> MapRows | None:
        if self._opened is None:
            return None
        rows = np.array(self._opened.maps[block])
        right = self._opened.marker.checksums[block.start // BLOCK] == checksum(rows)
        return rows if right else None


def _change(values: NDArray[np.float32]) -> float:
    """Root mean square deviation of (B, ...) values from their mean over B."""
    return float(np.sqrt(np.mean((values - values.mean(axis=0, keepdims=True)) ** 2)))


def _fitting_batch(teacher: Teacher, device: torch.device) -> int:
    """Frames that a teacher computes together."""
    if device.type != "cuda":
        return int(min(max(CPU_BATCH * CPU_SIDE**2 // teacher.size**2, 1), CPU_BATCH))
    blank = torch.zeros(1, 3, teacher.size, teacher.size, dtype=torch.uint8, device=device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    teacher.features(blank)
    used = max(torch.cuda.max_memory_allocated(device) - before, 1)
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(max(MEMORY_SHARE * free // used, 1), BLOCK))
