"""Fill the blocks of a cache, together with other processes, and sum up what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distill.teachers.cache.blocks import BlockStore, Opened, checksum
from distill.teachers.cache.standardize import Kind, Moments, Standardizer
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from distill.teachers.cache.blocks import MapArray
    from distill.teachers.cache.rows import Rows


class Filling(NamedTuple):
    """One process's share of filling a cache.

    Attributes:
        files: Where the cache lies.
        rows: Makes its rows.
        name: The teacher's name, for errors.
        device: Where sums are computed.
        kind: What is summed up for; None for a cache that is only reduced further.
        progress: Called with the rows done and the rows in all.
    """

    files: BlockStore
    rows: Rows
    name: str
    device: torch.device
    kind: Kind | None
    progress: Callable[[int, int], None]

    def fill(self) -> None:
        """Compute the blocks that no other process computes, until all are there."""
        while True:
            with self.files.lock():
                if self.files.finished() is not None:
                    return
                opened = self.files.open(self.files.partial) or self._begin()
                if self.kind is not None:
                    self._sum_up(opened, self.kind)
                if not opened.pending:
                    self.files.finish()
                    return
            with self.files.claim(opened.pending) as number:
                if number is not None:
                    self._compute(number)

    def _begin(self) -> Opened:
        extra = 0 if self.kind is None else 2 * self._moments(self.kind).products.nbytes
        return self.files.create(f"the maps of {self.name}", extra)

    def _moments(self, kind: Kind) -> Moments:
        return Moments(kind, self.files.shape[1])

    def _compute(self, number: int) -> None:
        opened = self.files.open(self.files.partial)
        if opened is None or number not in opened.pending:
            return
        total = self.files.shape[0]
        before = total - self.files.count(opened.pending)
        self.progress(before, total)
        rows = self.rows.make(
            self.files.blocks[number], lambda count: self.progress(before + count, total)
        )
        opened.maps[self.files.blocks[number]] = rows
        opened.maps.flush()
        with self.files.lock():
            opened = self.files.open(self.files.partial)
            if opened is None:
                raise DataError(
                    f"{self.files.partial} vanished while it was filled", hint="start again"
                )
            opened.mark(number, checksum(rows))
        self.progress(total - self.files.count(opened.pending), total)

    def checked(self, standardizer: Standardizer | None = None) -> tuple[MapArray, Standardizer]:
        """Read-only maps, every block checked and repaired, and their standardization.

        Args:
            standardizer: That of a different cache; None for the cache's own.
        """
        with self.files.lock():
            opened = self.files.finished()
            if opened is None:
                raise DataError(
                    f"{self.files.final} cannot be read back",
                    hint=f"remove {self.files.final} and try again",
                )
            for number, block in enumerate(self.files.blocks):
                if checksum(opened.maps[block]) != opened.marker.checksums[number]:
                    rows = self.rows.make(block, lambda _: None)
                    opened.maps[block] = rows
                    opened.maps.flush()
                    opened.mark(number, checksum(rows))
            if self.kind is not None:
                standardizer = self._standardizer(opened, self.kind)
        assert standardizer is not None, "a cache without a kind is given a standardizer"
        self.progress(self.files.shape[0], self.files.shape[0])
        opened.maps.flags.writeable = False
        return opened.maps, standardizer

    def _standardizer(self, opened: Opened, kind: Kind) -> Standardizer:
        path = opened.folder / f"{kind}.npz"
        standardizer = Standardizer.load(path, self.files.shape[1])
        if standardizer is None:
            standardizer = self._sum_up(opened, kind).standardizer()
            standardizer.save(path)
            (opened.folder / _sums(kind)).unlink()
        return standardizer

    def _sum_up(self, opened: Opened, kind: Kind) -> Moments:
        """Add all blocks that are next in order; a damaged one becomes pending. Needs the lock."""
        path = opened.folder / _sums(kind)
        moments = Moments.load(path, kind, self.files.shape[1])
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


def _sums(kind: Kind) -> str:
    return f"{kind}-sums.npz"
