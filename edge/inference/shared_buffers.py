"""Input image, score map and one file in memory shared by two processes.

The memory has no name, so the kernel frees it when both processes have ended.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import ImageU8

_ALIGNMENT = 4096
_CHUNKS = 1 << 16
"""Bytes for the parts of a PNG that are not pixels."""


class SharedBuffers:
    """An input image, a score map and room for a golden picture's file in one shared mapping.

    Args:
        handle: File descriptor of the memory; the caller still closes it.
        input_size: Height and width of the image.
        output_size: Height and width of the score map.

    Attributes:
        input: (H, W, 3) uint8.
        output: (h, w) uint8.
        file: (N,) uint8, enough for the PNG of any image of the input's size. Pages that are never
            written take no memory.
    """

    def __init__(
        self, handle: int, input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> None:
        offset = -(-3 * input_size[0] * input_size[1] // _ALIGNMENT) * _ALIGNMENT
        end = offset + output_size[0] * output_size[1]
        # A PNG adds a byte to each line, and little more to what cannot be compressed.
        length = end + input_size[0] * (3 * input_size[1] + 1) * 101 // 100 + _CHUNKS
        if os.fstat(handle).st_size < length:
            os.ftruncate(handle, length)
        self._memory = mmap.mmap(handle, length)
        memory = np.frombuffer(self._memory, np.uint8)
        self.input: ImageU8 = memory[: 3 * input_size[0] * input_size[1]].reshape(*input_size, 3)
        self.output: ImageU8 = memory[offset:end].reshape(output_size)
        self.file: NDArray[np.uint8] = memory[end:]


def open_anonymous_memory() -> int:
    """Return a file descriptor of anonymous memory, which is freed with its last user."""
    return os.memfd_create("edge-difom", os.MFD_CLOEXEC)
