"""Run-length encodings of masks: COCO's, plain and compressed, CVAT's, and Kaggle's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import MaskBool


def from_coco(source: Path, encoded: Any) -> MaskBool:
    """Mask (H, W) of a COCO segmentation `{"size": [H, W], "counts": ...}`, column by column.

    Raises:
        DataError: The encoding is damaged.
    """
    try:
        height, width = (int(value) for value in encoded["size"])
        counts = encoded["counts"]
        runs = _decompress(counts) if isinstance(counts, str) else [int(run) for run in counts]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{source}: a run-length mask is damaged", got=str(error)) from error
    mask: MaskBool = _fill(source, runs, height * width).reshape(width, height).T.copy()
    return mask


def from_rows(source: Path, runs: Sequence[int], size: tuple[int, int]) -> MaskBool:
    """Mask (H, W) of runs outside and inside by turns, row by row, as CVAT writes them.

    Raises:
        DataError: The runs do not fill the mask.
    """
    return _fill(source, runs, size[0] * size[1]).reshape(size)


def from_pairs(source: Path, text: str, size: tuple[int, int]) -> MaskBool:
    """Mask (H, W) of `first length first length ...`, counted from 1 column by column.

    Raises:
        DataError: The encoding is damaged.
    """
    flat = np.zeros(size[0] * size[1], bool)
    try:
        numbers = [int(value) for value in text.split()]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise DataError(f"{source}: a run-length mask is damaged", got=str(error)) from error
    for first, length in pairs:
        if first < 1 or length < 0 or first - 1 + length > flat.size:
            raise DataError(
                f"{source}: a run-length mask does not fit its picture",
                expected=f"runs inside {flat.size} pixels",
                got=f"{length} from {first}",
            )
        flat[first - 1 : first - 1 + length] = True
    mask: MaskBool = flat.reshape(size[1], size[0]).T.copy()
    return mask


def _decompress(text: str) -> list[int]:
    """Runs of COCO's compressed text: five bits a character, from the third run on differences."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"character {text[place]!r}")
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            shift += 5
            place += 1
            if not more and bits & 16:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def _fill(source: Path, runs: Sequence[int], total: int) -> MaskBool:
    if any(run < 0 for run in runs) or sum(runs) != total:
        raise DataError(
            f"{source}: a run-length mask does not fit its picture",
            expected=f"runs of {total} pixels together",
            got=str(sum(runs)),
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, np.array(runs, np.int64))
