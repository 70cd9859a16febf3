"""A contact sheet: small pictures of labeled frames with the outlines of their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.datasets.pairs import read_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.datasets.pairs import Pair
    from edge.frame import ImageU8, MaskBool

CELL = (160, 200)
"""Height and width of a cell in pixels."""
COLUMNS = 8
MAX_CELLS = 64
_OUTLINE = (0, 255, 0)
_TEXT = 14


def contact_sheet(pairs: Sequence[Pair]) -> bytes:
    """The sheet as PNG: at most `MAX_CELLS` frames, spread evenly over the pairs.

    Args:
        pairs: Usable pairs of image and mask, at least one.

    Raises:
        DataError: A pair cannot be used.
    """
    rows = np.linspace(0, len(pairs) - 1, min(MAX_CELLS, len(pairs))).round().astype(int)
    cells = [_cell(pairs[row]) for row in rows]
    blank = np.zeros((*CELL, 3), np.uint8)
    cells += [blank] * (-len(cells) % min(COLUMNS, len(cells)))
    width = min(COLUMNS, len(cells))
    lines = [np.hstack(cells[begin : begin + width]) for begin in range(0, len(cells), width)]
    return bytes(cv2.imencode(".png", np.vstack(lines)[..., ::-1])[1].tobytes())


def _cell(pair: Pair) -> ImageU8:
    image, mask = read_pair(pair.image, pair.mask)
    height, width = CELL[0] - _TEXT, CELL[1]
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    cell = np.zeros((*CELL, 3), np.uint8)
    cell[: size[1], : size[0]] = _outlined(image, mask, size)
    cv2.putText(
        cell, pair.name[-30:], (2, CELL[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255)
    )
    return cell


def _outlined(image: ImageU8, mask: MaskBool, size: tuple[int, int]) -> ImageU8:
    small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlined: ImageU8 = cv2.drawContours(small, outlines, -1, _OUTLINE, 1).astype(np.uint8)
    return outlined
