"""Images without a polyp: folders, the phantom, and polyp-free windows of labeled frames."""

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
"""Seed of the first clean phantom frame; golden frames and training sets use other seeds."""

_TRIES = 12


class CleanFrame(NamedTuple):
    """A frame that is known to show no polyp.

    Attributes:
        image: Path of the image.
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
    """A part of an image, in coordinates from -1 to 1 across the image.

    Attributes:
        center: x and y of the center.
        reach: Half the width and half the height.
    """

    center: NDArray[np.float64]
    reach: NDArray[np.float64]


def find_negatives(folder: Path) -> list[Path]:
    """Find the images of a folder without polyps; masks beside them must be black.

    Raises:
        DataError: There is no image, or a mask shows a polyp.
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
    """Find every image of folders without polyps, with its video sequence.

    Raises:
        DataError: As in `find_negatives`.
        UsageError: A folder is given twice.
    """
    return [
        CleanFrame(path, name, sequence_of(path.stem))
        for folder, name in zip(folders, dataset_names(folders), strict=True)
        for path in find_negatives(folder)
    ]


def sequence_of(stem: str) -> str:
    """Return the name of a frame's video sequence: its file name without the trailing number.

    Args:
        stem: File name without its extension. `s03_0017` belongs to `s03`, plain numbers belong to
            one unnamed sequence, and a name without a trailing number is its own sequence.
    """
    match = re.fullmatch(r"(.*?)[_.-]?\d+", stem)
    return match.group(1) if match else stem


def phantom_negatives(count: int) -> Iterator[tuple[str, ImageU8]]:
    """Yield clean frames of the phantom, the same in every run."""
    for seed in range(PHANTOM_SEED, PHANTOM_SEED + count):
        yield f"phantom {seed}", render(seed, polyp=False).image


def polyp_free_crops(pairs: Sequence[Pair]) -> Iterator[tuple[str, ImageU8]]:
    """Yield a polyp-free window of each pair that has one, the same in every run.

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
    """Draw a polyp-free window of 30 to 65 % of an image's width and height.

    Args:
        mask: (H, W), nonzero inside polyps.
        rng: Generator for the window's size and place.

    Returns:
        The window; None if none was found within a few tries.
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
    """Return (first, last) column and (first, last) row."""
    (cx, cy), (rx, ry) = window
    H, W = size
    return (
        (int((cx - rx + 1) / 2 * W), int((cx + rx + 1) / 2 * W)),
        (int((cy - ry + 1) / 2 * H), int((cy + ry + 1) / 2 * H)),
    )
