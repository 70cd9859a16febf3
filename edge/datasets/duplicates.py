"""Find pictures that show the same, by thumbnails, whatever their names and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edge.frame import ImageU8

SIDE = 16
"""Height and width of a thumbnail, in pixels."""
MAX_DIFFERENCE = 1.5
"""Largest root mean square difference of two thumbnails of one picture, in 1/255."""
MIN_CONTRAST = 8.0
"""Standard deviation of a thumbnail from which a picture shows something, in 1/255."""


def thumbnails(images: Iterable[ImageU8]) -> NDArray[np.float32]:
    """Thumbnails (N, SIDE * SIDE * 3) of (H, W, 3) uint8 pictures of any size."""
    rows = [
        cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(-1)
        for image in images
    ]
    stack: NDArray[np.float32] = np.array(rows, np.float32).reshape(len(rows), SIDE * SIDE * 3)
    return stack


def find_same(
    references: NDArray[np.float32], queries: NDArray[np.float32], limit: float = MAX_DIFFERENCE
) -> list[tuple[int, int]]:
    """For each picture that equals a known one: its row and the most similar known row.

    Pictures without contrast, such as black frames, are never the same as another.

    Args:
        references: (N, D) of `thumbnails`.
        queries: (M, D) of `thumbnails`.
        limit: Largest root mean square difference, in 1/255.
    """
    if not len(references) or not len(queries):
        return []
    # The means of two such thumbnails differ by at most `limit`, so that few need a comparison.
    means = references.mean(axis=1)
    order = np.argsort(means, kind="stable")
    means = means[order]
    matches = []
    for row, thumbnail in enumerate(queries):
        if thumbnail.std() < MIN_CONTRAST:
            continue
        middle = float(thumbnail.mean())
        begin, end = np.searchsorted(means, (middle - limit, middle + limit))
        if begin == end:
            continue
        near = order[begin:end]
        squares = np.square(references[near] - thumbnail).mean(axis=1)
        best = int(squares.argmin())
        if squares[best] <= limit**2:
            matches.append((row, int(near[best])))
    return matches


def find_repeats(
    thumbs: NDArray[np.float32], limit: float = MAX_DIFFERENCE
) -> list[tuple[int, int]]:
    """Pairs of rows, the later one first, of pictures that are the same as an earlier one.

    Args:
        thumbs: (N, D) of `thumbnails`.
        limit: As in `find_same`.
    """
    if not len(thumbs):
        return []
    means = thumbs.mean(axis=1)
    order = np.argsort(means, kind="stable")
    means = means[order]
    pairs = []
    for place, row in enumerate(order):
        if thumbs[row].std() < MIN_CONTRAST:
            continue
        end = int(np.searchsorted(means, means[place] + limit, side="right"))
        near = order[place + 1 : end]
        if not len(near):
            continue
        squares = np.square(thumbs[near] - thumbs[row]).mean(axis=1)
        pairs += [
            (max(int(row), int(other)), min(int(row), int(other)))
            for other in near[squares <= limit**2]
        ]
    return sorted(pairs)
