"""A teacher processes each training frame once; training reads its maps from disk.

Maps are stored as float16 on the teacher's own grid, as it gave them. If the loss needs a smaller
grid, they are reduced to it once and stored beside. They are standardized when read, so that a
target has a deviation of about 1 whatever the teacher's scale. What the standardization needs is
summed up while the maps are written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from distill.teachers.cache.blocks import BLOCK, BlockStore
from distill.teachers.cache.filling import Filling
from distill.teachers.cache.rows import ReducedRows, TeacherRows
from distill.teachers.cache.standardize import Kind, Standardizer
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from distill.data.image_store import Progress
    from distill.teachers.build import Teacher
    from distill.teachers.cache.blocks import MapArray
    from distill.teachers.cache.rows import FrameSource, Rows

__all__ = ["BLOCK", "CachePlan", "TeacherCache"]

RULES = "float16 maps, 2"
"""Version of the files; changes if the same teacher and images would be stored differently."""


class TeacherCache:
    """Standardized teacher maps of some frames. Made by `CachePlan.build`.

    Attributes:
        channels: C.
        grid: gh, gw.
        standardizer: What `batch` does to the teacher's values, and how to undo it.
    """

    def __init__(self, maps: Sequence[MapArray], standardizer: Standardizer) -> None:
        self._maps = list(maps)
        self._ends = np.cumsum([len(part) for part in maps])
        self.standardizer = standardizer
        self.channels = int(maps[0].shape[1])
        self.grid = (int(maps[0].shape[2]), int(maps[0].shape[3]))

    def __len__(self) -> int:
        return int(self._ends[-1])

    @classmethod
    def joined(cls, caches: Sequence[TeacherCache]) -> TeacherCache:
        """The caches of one teacher over several kinds of frames as one, in their order.

        Args:
            caches: All with the standardizer of the first.
        """
        maps = [part for cache in caches for part in cache._maps]
        return cls(maps, caches[0].standardizer)

    def raw(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Tensor:
        """Maps of some rows of the store as the teacher gave them: (B, C, gh, gw) float32."""
        rows = np.asarray(indices)
        if len(self._maps) == 1:
            return torch.from_numpy(self._maps[0][rows].astype(np.float32))
        maps = np.empty((len(rows), self.channels, *self.grid), np.float32)
        parts = np.searchsorted(self._ends, rows, side="right")
        for number, part in enumerate(self._maps):
            own = parts == number
            maps[own] = part[rows[own] - (self._ends[number] - len(part))]
        return torch.from_numpy(maps)

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Tensor:
        """Maps of some rows of the store, standardized: (B, C, gh, gw) float32."""
        return self.standardizer.apply(self.raw(indices))


class CachePlan:
    """The cache of a teacher, frames and a grid: what of it is on disk, and how the rest is made.

    A kill at any moment costs at most the block at hand: the marker names a block only after its
    rows are on disk. A block whose checksum does not hold is computed again. Several processes that
    build the same cache share its blocks, and the files are those that one process would write; a
    block whose process dies is taken over by another.

    Args:
        teacher: Frozen teacher, on the device that it shall run on.
        frames: What it looks at.
        grid: Largest height and width of the maps that are read; a teacher with fewer cells keeps
            its own.
        folder: Where caches live.
        batch_size: Frames per call of the teacher; None chooses.

    Attributes:
        grid: Height and width of the maps that are read.
    """

    def __init__(
        self,
        teacher: Teacher,
        frames: FrameSource,
        grid: tuple[int, int],
        folder: Path,
        batch_size: int | None = None,
    ) -> None:
        own = teacher.grid
        self.grid = (min(grid[0], own[0]), min(grid[1], own[1]))
        self.teacher, self.frames = teacher, frames
        self._folder, self._batch_size = folder, batch_size
        self._own = self._files(own)
        self._used = self._own if self.grid == own else self._files(self.grid)

    def _files(self, grid: tuple[int, int]) -> BlockStore:
        device = next(iter(self.teacher.parameters())).device
        precision = "bfloat16" if device.type == "cuda" else "float32"
        identity = f"{RULES} | {self.teacher.identity} | {self.frames.key} | {precision}"
        key = hashlib.sha256(f"{identity} | {grid[0]}x{grid[1]}".encode()).hexdigest()[:20]
        shape = (len(self.frames), self.teacher.channels, *grid)
        return BlockStore(self._folder / f"{self.teacher.name}-{key}", shape)

    @property
    def bytes_to_write(self) -> int:
        """Disk that the maps still need; what another process has reserved is not counted."""
        if self._used.finished() is not None:
            return 0
        stores = [self._own] if self._used is self._own else [self._own, self._used]
        return sum(store.nbytes for store in stores if not store.is_reserved())

    @property
    def frames_to_see(self) -> int:
        """Number of frames that the teacher has not processed yet."""
        return 0 if self._used.finished() is not None else self._own.count_missing()

    def probe(self) -> None:
        """Let the teacher look at a few frames, so that a useless one is found at once.

        Raises:
            DataError: A frame cannot be read, or the maps are not finite or do not depend on it.
        """
        TeacherRows(self.teacher, self.frames, self._batch_size).probe()

    def build(
        self,
        progress: Progress | None = None,
        *,
        standardize: Kind = "channel",
        standardizer: Standardizer | None = None,
    ) -> TeacherCache:
        """Open the cache; make or repair what is missing.

        Args:
            progress: Called with the rows done and the rows in all, after each batch.
            standardize: `channel` or `phi-s`; the maps on disk are the same.
            standardizer: That of other frames, for maps that are compared with theirs; None for
                these frames' own.

        Raises:
            DataError: The disk is too small, a frame cannot be read, or the teacher gave values
                that are not finite or do not depend on the frame.
            UsageError: Another `standardize`.
        """
        if standardize not in get_args(Kind):
            raise UsageError(
                f"no standardization {standardize!r}", expected=" | ".join(get_args(Kind))
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        kind = standardize if standardizer is None else None
        teacher_rows = TeacherRows(self.teacher, self.frames, self._batch_size)
        report = progress or (lambda _done, _total: None)
        rows: Rows = teacher_rows
        if self._used is not self._own:
            if self._used.finished() is None:
                Filling(
                    self._own, teacher_rows, self.teacher.name, teacher_rows.device, None, report
                ).fill()
            rows = ReducedRows(self._own, teacher_rows, self.grid)
        filling = Filling(
            self._used,
            rows,
            self.teacher.name,
            teacher_rows.device,
            kind,
            report if self._used is self._own else _end_only(report),
        )
        filling.fill()
        maps, standardizer_made = filling.checked(standardizer)
        return TeacherCache([maps], standardizer_made)


def _end_only(progress: Progress) -> Progress:
    """Report nothing but the end: reducing maps takes a moment beside making them."""
    return lambda done, total: progress(done, total) if done == total else None
