"""A teacher processes each training image once; training reads its maps from disk.

Maps are stored as float16, as the teacher gave them, and standardized when read, so that a target
has a deviation of about 1 whatever the teacher's scale. What the standardization needs is summed up
while the maps are written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from distill.teachers.cache.blocks import BLOCK, BlockStore, Opened, checksum
from distill.teachers.cache.standardize import Kind, Moments, Standardizer
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from distill.data.image_store import ImageStore, Progress
    from distill.teachers.build import Teacher
    from distill.teachers.cache.blocks import MapArray

__all__ = ["BLOCK", "TeacherCache"]

RULES = "float16 maps, 1"
"""Version of the files; changes if the same teacher and images would be stored differently."""


class TeacherCache:
    """Standardized teacher maps of a training set. Made by `TeacherCache.build`.

    Attributes:
        channels: C.
        grid: gh, gw.
        standardizer: What `batch` does to the teacher's values, and how to undo it.
    """

    def __init__(self, maps: MapArray, standardizer: Standardizer) -> None:
        self._maps = maps
        self.standardizer = standardizer
        self.channels = int(maps.shape[1])
        self.grid = (int(maps.shape[2]), int(maps.shape[3]))

    def __len__(self) -> int:
        return len(self._maps)

    def raw(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Tensor:
        """Maps of some rows of the store as the teacher gave them: (B, C, gh, gw) float32."""
        return torch.from_numpy(self._maps[np.asarray(indices)].astype(np.float32))

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Tensor:
        """Maps of some rows of the store, standardized: (B, C, gh, gw) float32."""
        return self.standardizer.apply(self.raw(indices))

    @classmethod
    def build(
        cls,
        teacher: Teacher,
        store: ImageStore,
        grid: tuple[int, int],
        folder: Path,
        batch_size: int = 8,
        progress: Progress | None = None,
        *,
        standardize: Kind = "channel",
    ) -> TeacherCache:
        """Open the cache of a teacher, images and a grid; make or repair what is missing.

        A kill at any moment costs at most the block at hand: the marker names a block only after
        its rows are on disk. A block whose checksum does not hold is computed again. Several
        processes that build the same cache share its blocks, and the files are those that one
        process would write; a block whose process dies is taken over by another.

        Args:
            teacher: Frozen teacher, on the device that it shall run on.
            store: Training images.
            grid: Height and width of the maps.
            folder: Where caches live.
            batch_size: Images per call of the teacher; does not change the result.
            progress: Called with the rows done and the rows in all.
            standardize: `channel` or `phi-s`; the maps on disk are the same.

        Raises:
            DataError: The disk is too small, or the teacher gave values that are not finite.
            UsageError: Another `standardize`.
        """
        if standardize not in get_args(Kind):
            raise UsageError(
                f"no standardization {standardize!r}", expected=" | ".join(get_args(Kind))
            )
        identity = f"{RULES} | {teacher.identity} | {store.key} | {grid[0]}x{grid[1]}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:20]
        folder.mkdir(parents=True, exist_ok=True)
        files = BlockStore(folder / f"{teacher.name}-{key}", (len(store), teacher.channels, *grid))
        work = _Work(teacher, store, grid, batch_size, progress, files, standardize)
        work.fill()
        return cls(*work.checked())


class _Work:
    """One process's share of running a teacher over a store."""

    def __init__(
        self,
        teacher: Teacher,
        store: ImageStore,
        grid: tuple[int, int],
        batch_size: int,
        progress: Progress | None,
        files: BlockStore,
        kind: Kind,
    ) -> None:
        self.teacher, self.store, self.grid = teacher, store, grid
        self.batch_size, self.progress = batch_size, progress
        self.files, self.kind, self.sums = files, kind, f"{kind}-sums.npz"
        self.device = next(iter(teacher.parameters())).device

    def fill(self) -> None:
        """Compute the blocks that no other process computes, until all are there."""
        while True:
            with self.files.lock():
                if self.files.finished() is not None:
                    return
                opened = self.files.open(self.files.partial) or self._begin()
                self._sum_up(opened)
                if not opened.pending:
                    self.files.finish()
                    return
            with self.files.claim(opened.pending) as number:
                if number is not None:
                    self._compute(number)

    def _begin(self) -> Opened:
        sums = Moments(self.kind, self.teacher.channels)
        return self.files.create(f"the maps of {self.teacher.name}", 2 * sums.products.nbytes)

    def _compute(self, number: int) -> None:
        opened = self.files.open(self.files.partial)
        if opened is None or number not in opened.pending:
            return
        rows = self._rows(self.files.blocks[number])
        opened.maps[self.files.blocks[number]] = rows
        opened.maps.flush()
        with self.files.lock():
            opened = self.files.open(self.files.partial)
            if opened is None:
                raise DataError(
                    f"{self.files.partial} vanished while it was filled", hint="start again"
                )
            opened.mark(number, checksum(rows))
        if self.progress is not None:
            todo = sum(
                block.stop - block.start
                for block in map(self.files.blocks.__getitem__, opened.pending)
            )
            self.progress(len(self.store) - todo, len(self.store))

    def checked(self) -> tuple[MapArray, Standardizer]:
        """Read-only maps, every block checked and repaired, and their standardization."""
        with self.files.lock():
            opened = self.files.finished()
            if opened is None:
                raise DataError(
                    f"{self.files.final} cannot be read back",
                    hint=f"remove {self.files.final} and try again",
                )
            for number, block in enumerate(self.files.blocks):
                if checksum(opened.maps[block]) != opened.marker.checksums[number]:
                    rows = self._rows(block)
                    opened.maps[block] = rows
                    opened.maps.flush()
                    opened.mark(number, checksum(rows))
            standardizer = self._standardizer(opened)
        if self.progress is not None:
            self.progress(len(self.store), len(self.store))
        opened.maps.flags.writeable = False
        return opened.maps, standardizer

    def _standardizer(self, opened: Opened) -> Standardizer:
        path = opened.folder / f"{self.kind}.npz"
        found = Standardizer.load(path, self.teacher.channels)
        if found is None:
            found = self._sum_up(opened).standardizer()
            found.save(path)
            (opened.folder / self.sums).unlink()
        return found

    def _sum_up(self, opened: Opened) -> Moments:
        """Add all blocks that are next in order; a damaged one becomes pending. Needs the lock."""
        path = opened.folder / self.sums
        moments = Moments.load(path, self.kind, self.teacher.channels)
        while moments.blocks < len(self.files.blocks):
            number = moments.blocks
            rows = np.array(opened.maps[self.files.blocks[number]])
            if opened.marker.checksums[number] != checksum(rows):
                if opened.marker.checksums[number] is not None:
                    opened.mark(number, None)
                break
            moments.add(rows, self.device)
            moments.save(path)
        return moments

    def _rows(self, block: slice) -> NDArray[np.float16]:
        parts = []
        for begin in range(block.start, block.stop, self.batch_size):
            images = np.array(self.store.images[begin : min(begin + self.batch_size, block.stop)])
            batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
            parts.append(self.teacher.features(batch, self.grid).half().cpu().numpy())
        rows = np.concatenate(parts)
        if not np.isfinite(rows).all():
            raise DataError(
                f"teacher {self.teacher.name} gave values that float16 cannot hold",
                got=f"rows {block.start} to {block.stop - 1}",
                hint="check the teacher's checkpoint",
            )
        return rows
