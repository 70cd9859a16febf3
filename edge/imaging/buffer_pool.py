"""A pool of image buffers, each reused after its last image was released.

With plain malloc, frames of six megabytes fragment the heap: small blocks occupy the gaps that
frames leave, later frames need new memory, and a device that runs for days grows although it holds
no more than before.
"""

from __future__ import annotations

import math
import mmap
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.frame import ImageU8

MAX_BUFFERS = 12
"""Maximum number of pooled buffers; beyond it, buffers come from malloc."""


class BufferPool:
    """Lends image buffers. One thread calls it; any thread may hold the images."""

    def __init__(self) -> None:
        self._size = 0
        self._blocks: list[_Block] = []

    def allocate(self, shape: tuple[int, ...]) -> ImageU8:
        """Return an uninitialized buffer for an image.

        Args:
            shape: Shape of the uint8 array. Blocks are as large as the largest image so far, so
                that changing sizes cause no reallocation; smaller blocks are freed when their image
                is released.
        """
        size = math.prod(shape)
        if size > self._size:
            self._size, self._blocks = size, []
        block = next((block for block in self._blocks if block.is_free), None)
        if block is None:
            if len(self._blocks) == MAX_BUFFERS or size == 0:
                return np.empty(shape, np.uint8)
            block = _Block(self._size)
            self._blocks.append(block)
        return block.lend(size).reshape(shape)

    def copy(self, image: ImageU8) -> ImageU8:
        """Copy an image into a pooled buffer."""
        room = self.allocate(image.shape)
        np.copyto(room, image)
        return room


def blank(shape: tuple[int, ...]) -> ImageU8:
    """Return an array of zeros, at least one byte, whose memory returns to the system with it."""
    size = math.prod(shape)
    return _Block(size).lend(size).reshape(shape)


class _Block:
    """Memory for one image."""

    def __init__(self, size: int) -> None:
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._lent: weakref.ref[ImageU8] | None = None

    @property
    def is_free(self) -> bool:
        return self._lent is None or self._lent() is None

    def lend(self, size: int) -> ImageU8:
        """Return an array over the first bytes; any view of it keeps the block lent."""
        lent = np.frombuffer(self._memory, np.uint8, size)
        self._lent = weakref.ref(lent)
        return lent
