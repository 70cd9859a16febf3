"""The teacher looks at each training image once; training reads its maps from disk.

Maps are stored as float16 and standardised per channel when read: `(t - mean) / std` over the training set, so a
target has a deviation of about 1 whatever the teacher's scale.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from distill.data import create_rows, require_space
from edge.errors import DataError
from edge.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from distill.data import ImageStore, Progress
    from distill.teachers import Teacher

    Maps = np.memmap[Any, np.dtype[np.float16]]

RULES = "float16 maps, 1"
"""Changes whenever the same teacher and images would be stored otherwise."""
BLOCK = 32
"""Rows that are written, flushed and checked together."""
_MARKER, _MAPS = "cache.json", "maps.npy"
_STD_FLOOR = 1e-2
"""Least deviation of a channel, as a share of the mean one: a silent channel stays silent."""


class _Marker(msgspec.Struct, forbid_unknown_fields=True):
    """What is on disk: one checksum per finished block, and running sums over the finished blocks."""

    checksums: list[int]
    total: list[float]
    squares: list[float]


class TeacherCache:
    """Standardised teacher maps of a training set. Made by `TeacherCache.build`.

    Attributes:
        channels: C.
        grid: gh, gw.
        mean: (C,) float32, of the maps as the teacher gave them.
        std: (C,) float32, likewise, floored.
    """

    def __init__(self, maps: Maps, mean: Tensor, std: Tensor) -> None:
        self._maps = maps
        self.mean, self.std = mean, std
        self.channels = int(maps.shape[1])
        self.grid = (int(maps.shape[2]), int(maps.shape[3]))

    def __len__(self) -> int:
        return len(self._maps)

    def batch(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Tensor:
        """Maps of some rows of the store, standardised: (B, C, gh, gw) float32."""
        rows = torch.from_numpy(self._maps[np.asarray(indices)].astype(np.float32))
        shape = (1, -1, 1, 1)
        return rows.sub_(self.mean.view(shape)).div_(self.std.view(shape))

    @classmethod
    def build(
        cls,
        teacher: Teacher,
        store: ImageStore,
        grid: tuple[int, int],
        folder: Path,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> TeacherCache:
        """Open the cache of this teacher, these images and this grid; make or mend what is missing of it.

        A kill at any moment costs at most one block: the marker names a block only after its rows are on disk. A
        block whose checksum does not hold is computed again. A second process waits for the first.

        Args:
            teacher: Frozen teacher, on the device that it shall run on.
            store: Training images.
            grid: Height and width of the maps.
            folder: Where caches live.
            batch_size: Images per call of the teacher; does not change the result.
            progress: Called with the rows done and the rows in all.

        Raises:
            DataError: The disk is too small, or the teacher gave values that are not finite.
        """
        identity = f"{RULES} | {teacher.identity} | {store.key} | {grid[0]}x{grid[1]}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:20]
        final = folder / f"{teacher.name}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{final.name}.lock"):
            work = _Work(teacher, store, grid, batch_size, progress)
            if work.load(final) is None:
                partial = folder / f"{final.name}.partial"
                work.compute(partial)
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
            return cls(*work.checked(final))


class _Work:
    """One run of a teacher over a store, in blocks."""

    def __init__(
        self,
        teacher: Teacher,
        store: ImageStore,
        grid: tuple[int, int],
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self.teacher, self.store, self.grid = teacher, store, grid
        self.batch_size, self.progress = batch_size, progress
        self.shape = (len(store), teacher.channels, *grid)
        self.blocks = [slice(begin, min(begin + BLOCK, len(store))) for begin in range(0, len(store), BLOCK)]

    def load(self, folder: Path, *, whole: bool = True) -> tuple[Maps, _Marker] | None:
        """Writable maps and marker in `folder`; None where they are missing or do not belong together."""
        try:
            marker = msgspec.json.decode((folder / _MARKER).read_bytes(), type=_Marker)
            maps = np.load(folder / _MAPS, mmap_mode="r+")
        except (OSError, ValueError, EOFError, msgspec.DecodeError):
            return None
        done = len(marker.checksums)
        fits = maps.shape == self.shape and maps.dtype == np.float16
        if not fits or done > len(self.blocks) or (whole and done < len(self.blocks)):
            return None
        return maps, marker

    def compute(self, partial: Path) -> None:
        """Fill `partial`, from where a killed run left off."""
        found = self.load(partial, whole=False)
        if found is None:
            shutil.rmtree(partial, ignore_errors=True)
            needed = 2 * int(np.prod(self.shape, dtype=np.int64))
            require_space(partial, needed, f"the maps of {self.teacher.name}")
            zeros = [0.0] * self.teacher.channels
            found = create_rows(partial / _MAPS, self.shape, np.float16), _Marker([], zeros, zeros)
        maps, marker = found
        for block in self.blocks[len(marker.checksums) :]:
            rows = self._rows(block)
            maps[block] = rows
            maps.flush()
            exact = rows.astype(np.float64)
            marker.checksums.append(_checksum(rows))
            marker.total = (np.array(marker.total) + exact.sum(axis=(0, 2, 3))).tolist()
            marker.squares = (np.array(marker.squares) + (exact**2).sum(axis=(0, 2, 3))).tolist()
            atomic_write(partial / _MARKER, msgspec.json.encode(marker))
            if self.progress is not None:
                self.progress(block.stop, len(self.store))

    def checked(self, folder: Path) -> tuple[Maps, Tensor, Tensor]:
        """Read-only maps, every block checked and mended, with mean and std."""
        found = self.load(folder)
        if found is None:
            raise DataError(f"{folder} cannot be read back", mend=f"remove {folder} and try again")
        maps, marker = found
        for number, block in enumerate(self.blocks):
            if _checksum(maps[block]) != marker.checksums[number]:
                rows = self._rows(block)
                maps[block] = rows
                maps.flush()
                marker.checksums[number] = _checksum(rows)
                atomic_write(folder / _MARKER, msgspec.json.encode(marker))
        if self.progress is not None:
            self.progress(len(self.store), len(self.store))
        count = len(self.store) * self.grid[0] * self.grid[1]
        mean = np.array(marker.total) / count
        std = np.sqrt(np.maximum(np.array(marker.squares) / count - mean**2, 0))
        std = np.maximum(std, max(_STD_FLOOR * float(std.mean()), 1e-6))
        maps.flags.writeable = False
        return maps, torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))

    def _rows(self, block: slice) -> NDArray[np.float16]:
        device = next(iter(self.teacher.parameters())).device
        parts = []
        for begin in range(block.start, block.stop, self.batch_size):
            images = np.array(self.store.images[begin : min(begin + self.batch_size, block.stop)])
            batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
            parts.append(self.teacher.features(batch, self.grid).half().cpu().numpy())
        rows = np.concatenate(parts)
        if not np.isfinite(rows).all():
            raise DataError(
                f"teacher {self.teacher.name} gave values that float16 cannot hold",
                got=f"rows {block.start} to {block.stop - 1}",
                mend="check the teacher's checkpoint",
            )
        return rows


def _checksum(rows: NDArray[np.float16]) -> int:
    return zlib.crc32(np.ascontiguousarray(rows).data)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
