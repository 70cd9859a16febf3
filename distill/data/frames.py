"""Frames at their own resolution, read again for each teacher and resized to what it takes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distill.data.digests import data_digest
from distill.data.image_store import RULES, read_part
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.splits import Sample
    from edge.frame import FieldOfView, ImageU8

MAX_READERS = 8
"""Maximum number of threads that read the frames of one batch."""


class Frames:
    """The frames of an image store before they were resized: the same rows, the same parts.

    Args:
        samples: In the order of the rows.
        rule: Part of each frame that the student sees, as in `edge.imaging.crop`.
    """

    def __init__(self, samples: Sequence[Sample], rule: FieldOfView) -> None:
        self._samples, self._rule = samples, rule

    def __len__(self) -> int:
        return len(self._samples)

    @cached_property
    def key(self) -> str:
        """Hash of all contents and the rules."""
        key_text = f"{RULES} {self._rule} {data_digest(self._samples)}"
        return hashlib.sha256(key_text.encode()).hexdigest()

    def batch(self, rows: slice, size: int) -> ImageU8:
        """Some frames as a network of that size is shown them: (B, size, size, 3) uint8 RGB.

        Raises:
            DataError: A file cannot be read.
        """
        readers = min(MAX_READERS, len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(readers) as pool:
            return np.stack(
                list(pool.map(lambda sample: self._read(sample, size), self._samples[rows]))
            )

    def _read(self, sample: Sample, size: int) -> ImageU8:
        image, _ = read_part(sample, self._rule)
        return to_input(image, (size, size), bgr=False)
