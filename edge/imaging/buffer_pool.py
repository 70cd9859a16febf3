"""Memory for the pictures of a run, used again once nobody holds the picture that was in it.

Left to malloc, frames of six megabytes come to lie between small blocks; the holes that they leave
behind are cut into, the next frames are put on top, and a device that runs for days grows though it
holds no more than before.
"""

from __future__ import annotations

import math
import mmap
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.frame import ImageU8

MOST = 12
"""Pictures that share the memory; whoever keeps more gets further ones from malloc."""


class PictureMemory:
    """Gives room for pictures; asked by one thread, the pictures may go to any."""

    def __init__(self) -> None:
        self._size = 0
        self._blocks: list[_Block] = []

    def take(self, shape: tuple[int, ...]) -> ImageU8:
        """Room for a picture, with whatever was there before.

        Args:
            shape: Of the uint8 array. Blocks are as large as the largest picture so far, so that a
                size that comes and goes moves no memory; smaller ones go back to the system as soon
                as nobody holds the picture in them.
        """
        size = math.prod(shape)
        if size > self._size:
            self._size, self._blocks = size, []
        block = next((block for block in self._blocks if block.is_free), None)
        if block is None:
            if len(self._blocks) == MOST or size == 0:
                return np.empty(shape, np.uint8)
            block = _Block(self._size)
            self._blocks.append(block)
        return block.lend(size).reshape(shape)

    def copy(self, image: ImageU8) -> ImageU8:
        """The same picture in such memory."""
        room = self.take(image.shape)
        np.copyto(room, image)
        return room


def blank(shape: tuple[int, ...]) -> ImageU8:
    """A picture of zeros, of at least one byte, in memory that goes back to the system with it."""
    size = math.prod(shape)
    return _Block(size).lend(size).reshape(shape)


class _Block:
    """Memory for one picture."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._lent: weakref.ref[ImageU8] | None = None

    @property
    def is_free(self) -> bool:
        return self._lent is None or self._lent() is None

    def lend(self, size: int) -> ImageU8:
        """Its first bytes; every view of this array, and every view of those, keeps it alive and the block lent."""
        lent = np.frombuffer(self._memory, np.uint8, size)
        self._lent = weakref.ref(lent)
        return lent
