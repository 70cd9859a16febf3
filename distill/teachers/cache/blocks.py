"""The files of a teacher cache, in blocks that several processes may fill at once.

FOLDER/{maps.npy, cache.json, channel.npz or phi-s.npz}, and while it is filled FOLDER.partial with
`claims/` besides. A claim is a lock on a file, which the kernel takes back when its holder dies,
however it dies.
"""

from __future__ import annotations

import shutil
import zlib
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from distill.data.image_store import create_rows, require_space
from edge.util.files import atomic_write, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    MapArray = np.memmap[Any, np.dtype[np.float16]]

BLOCK = 32
"""Rows that are claimed, written, flushed and checked together."""
_MARKER, _MAPS, _CLAIMS = "cache.json", "maps.npy", "claims"


class Marker(msgspec.Struct, forbid_unknown_fields=True):
    """The checksum of each block that is on disk; None where it is not."""

    checksums: list[int | None]


class Opened(NamedTuple):
    """A cache folder's writable maps and its marker, as it was when it was read."""

    folder: Path
    maps: MapArray
    marker: Marker

    @property
    def pending(self) -> list[int]:
        """Blocks that are not on disk."""
        return [number for number, checksum in enumerate(self.marker.checksums) if checksum is None]

    def mark(self, number: int, checksum: int | None) -> None:
        """Note a block as done, after its rows are on disk, or as missing; under the lock."""
        self.marker.checksums[number] = checksum
        atomic_write(self.folder / _MARKER, msgspec.json.encode(self.marker))


class BlockStore:
    """Where one cache lies, finished or not.

    Args:
        final: Its folder.
        shape: N, C, gh, gw.
    """

    def __init__(self, final: Path, shape: tuple[int, int, int, int]) -> None:
        self.final, self.shape = final, shape
        self.partial = final.with_name(f"{final.name}.partial")
        rows = shape[0]
        self.blocks = [slice(begin, min(begin + BLOCK, rows)) for begin in range(0, rows, BLOCK)]

    @property
    def nbytes(self) -> int:
        """Size of the maps."""
        return 2 * int(np.prod(self.shape, dtype=np.int64))

    def is_reserved(self) -> bool:
        """Whether the disk already holds room for all of its rows."""
        return any(self.open(folder) is not None for folder in (self.final, self.partial))

    def count(self, blocks: Sequence[int]) -> int:
        """Return the number of rows of some blocks."""
        return sum(self.blocks[number].stop - self.blocks[number].start for number in blocks)

    def count_missing(self) -> int:
        """Return the number of rows that are not on disk."""
        opened = self.finished() or self.open(self.partial)
        return self.shape[0] if opened is None else self.count(opened.pending)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Alone with the marker, the statistics and the names of the folders."""
        with locked(self.final.with_name(f"{self.final.name}.lock")):
            yield

    def open(self, folder: Path) -> Opened | None:
        """Open `folder`; None if maps or marker are missing or do not belong together."""
        try:
            marker = msgspec.json.decode((folder / _MARKER).read_bytes(), type=Marker)
            maps = np.load(folder / _MAPS, mmap_mode="r+")
        except (OSError, ValueError, EOFError, msgspec.DecodeError):
            return None
        fits = maps.shape == self.shape and maps.dtype == np.float16
        return (
            Opened(folder, maps, marker)
            if fits and len(marker.checksums) == len(self.blocks)
            else None
        )

    def finished(self) -> Opened | None:
        """The finished cache, where it is whole."""
        opened = self.open(self.final)
        return opened if opened is not None and not opened.pending else None

    def create(self, what: str, extra: int) -> Opened:
        """An empty `partial`, in place of whatever is there.

        Args:
            what: Named in the error.
            extra: Bytes needed besides the maps.

        Raises:
            DataError: The disk is too small.
        """
        shutil.rmtree(self.partial, ignore_errors=True)
        require_space(self.partial, self.nbytes + extra, what)
        (self.partial / _CLAIMS).mkdir()
        maps = create_rows(self.partial / _MAPS, self.shape, np.float16)
        opened = Opened(self.partial, maps, Marker([None] * len(self.blocks)))
        opened.mark(0, None)
        return opened

    def finish(self) -> None:
        """Give `partial` its final name; under the lock."""
        shutil.rmtree(self.partial / _CLAIMS, ignore_errors=True)
        for left in self.partial.glob(f".{_MARKER}.*"):  # of builders that were killed
            left.unlink(missing_ok=True)
        shutil.rmtree(self.final, ignore_errors=True)
        self.partial.rename(self.final)

    @contextmanager
    def claim(self, pending: Sequence[int]) -> Iterator[int | None]:
        """Own one of the blocks of `partial`; if all are owned, wait until one is released.

        Yields:
            The block, which may have been finished meanwhile; None where the whole cache has been.
        """
        with ExitStack() as stack:
            try:
                number: int | None = self._first_free(stack, pending)
            except FileNotFoundError:  # the claims go when the cache is finished
                number = None
            yield number

    def _first_free(self, stack: ExitStack, pending: Sequence[int]) -> int:
        for number in pending:
            with suppress(BlockingIOError):
                stack.enter_context(locked(self._claim_file(number), wait=False))
                return number
        stack.enter_context(locked(self._claim_file(pending[0])))
        return pending[0]

    def _claim_file(self, number: int) -> Path:
        return self.partial / _CLAIMS / f"{number:06d}"


def checksum(rows: NDArray[np.float16]) -> int:
    """CRC-32 of a block."""
    return zlib.crc32(np.ascontiguousarray(rows).data)
