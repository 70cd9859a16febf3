"""Pictures without a polyp: folders of them, the phantom, and windows of labelled frames that hold none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.datasets.pairs import (
    dataset_names,
    find_images,
    find_pairs,
    layouts,
    read_mask,
    read_pair,
)
from edge.datasets.phantom.render import render
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from edge.datasets.pairs import Pair
    from edge.frame import ImageU8

PHANTOM_SEED = 1_000_000
"""The phantom's first clean frame here; golden frames and its training sets begin elsewhere."""

_TRIES = 12


class CleanFrame(NamedTuple):
    """A frame that is known to show no polyp.

    Attributes:
        image: Path of the picture.
        dataset: Name of the folder or data set that it comes from.
        sequence: Name of its video sequence inside the data set.
    """

    image: Path
    dataset: str
    sequence: str

    @property
    def name(self) -> str:
        """`data set/stem`."""
        return f"{self.dataset}/{self.image.stem}"


class Window(NamedTuple):
    """A part of a picture, in coordinates of -1 to 1 over it.

    Attributes:
        centre: x and y.
        reach: Half its width and half its height.
    """

    centre: NDArray[np.float64]
    reach: NDArray[np.float64]


def find_negatives(folder: Path) -> list[Path]:
    """The pictures of a folder without polyps; where it also holds masks, these have to be black.

    Raises:
        DataError: There is no picture, or a mask shows a polyp.
    """
    if not folder.is_dir() or next(layouts(folder), None) is None:
        return find_images(folder)
    pairs = find_pairs(folder)
    for pair in pairs:
        if read_mask(pair.mask).any():
            raise DataError(
                f"{folder} is not free of polyps",
                expected="black masks, or a folder without masks",
                got=f"a polyp in {pair.mask}",
            )
    return [pair.image for pair in pairs]


def clean_frames(folders: Sequence[Path]) -> list[CleanFrame]:
    """Every picture of folders without polyps, with its video sequence.

    Raises:
        DataError: As `find_negatives`.
        UsageError: A folder is given twice.
    """
    return [
        CleanFrame(path, name, sequence_of(path.stem))
        for folder, name in zip(folders, dataset_names(folders), strict=True)
        for path in find_negatives(folder)
    ]


def sequence_of(stem: str) -> str:
    """Name of the video sequence that a frame belongs to: its file name without a trailing number.

    Args:
        stem: File name without its extension: `s03_0017` belongs to `s03`, plain numbers to one
            unnamed sequence; a name without a trailing number is its own sequence.
    """
    found = re.fullmatch(r"(.*?)[_.-]?\d+", stem)
    return found.group(1) if found else stem


def phantom_negatives(count: int) -> Iterator[tuple[str, ImageU8]]:
    """Clean frames of the phantom, the same in every run."""
    for seed in range(PHANTOM_SEED, PHANTOM_SEED + count):
        yield f"phantom {seed}", render(seed, polyp=False).image


def polyp_free_crops(pairs: Sequence[Pair]) -> Iterator[tuple[str, ImageU8]]:
    """One window without a polyp of each pair in which there is one, the same in every run.

    Raises:
        DataError: A pair cannot be used.
    """
    for number, pair in enumerate(pairs):
        image, mask = read_pair(pair.image, pair.mask)
        window = polyp_free_window(mask, np.random.default_rng([0, number]))
        if window is not None:
            x, y = _pixels(window, mask.shape[:2])
            yield (
                f"{pair.name} without its polyp",
                np.ascontiguousarray(image[y[0] : y[1], x[0] : x[1]]),
            )


def polyp_free_window(mask: NDArray[np.generic], rng: Generator) -> Window | None:
    """A window of 30 to 65 % of a picture's width and height without any of its polyps.

    Args:
        mask: (H, W), not zero inside polyps.
        rng: Where the window's size and place come from.

    Returns:
        The window, None where a few tries found none.
    """
    H, W = mask.shape
    for _ in range(_TRIES):
        reach = rng.uniform(0.3, 0.65, size=2)
        window = Window(rng.uniform(-1 + reach, 1 - reach), reach)
        (left, right), (top, low) = _pixels(window, (H, W))
        if not mask[top : low + 2, left : right + 2].any():
            return window
    return None


def _pixels(window: Window, size: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last column, first and last row."""
    (cx, cy), (rx, ry) = window
    H, W = size
    return (
        (int((cx - rx + 1) / 2 * W), int((cx + rx + 1) / 2 * W)),
        (int((cy - ry + 1) / 2 * H), int((cy + ry + 1) / 2 * H)),
    )
