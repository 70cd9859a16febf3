"""Read the true boxes of a clip: from a file of boxes, from a folder of masks, or none at all."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import cv2
import msgspec
import numpy as np

from edge.datasets.pairs import find_images, read_mask
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import Box, MaskBool

    Boxes = tuple[Box, ...]

TruthKind = Literal["boxes", "masks", "clean"]

FORMATS = (
    '{"frames": {"0": [[x, y, width, height], ...], ...}} or '
    '{"width": W, "height": H, "frames": [[{"bbox": [left, top, right, bottom]}, ...], ...]}'
)
"""The two structures of a file of boxes, in whole pixels of the clip's frames."""

MIN_PIECE = 0.0001
"""Components of a mask that cover a smaller share of the frame are specks, not polyps."""


class _Corners(msgspec.Struct, forbid_unknown_fields=True):
    bbox: tuple[int, int, int, int]


class _Listed(msgspec.Struct, forbid_unknown_fields=True):
    width: int
    height: int
    frames: list[list[_Corners]]


class _Numbered(msgspec.Struct, forbid_unknown_fields=True):
    frames: dict[str, list[tuple[int, int, int, int]]]
    width: int | None = None
    height: int | None = None


def read_truth(
    kind: TruthKind, path: Path | None, frames: int, size: tuple[int, int]
) -> list[Boxes]:
    """Return the true boxes of each frame of a clip.

    Args:
        kind: Kind of `path`: a file of `boxes`, a folder of `masks`, or None for a `clean` clip.
        path: The file or folder.
        frames: Number of frames of the clip.
        size: Height and width of its frames.

    Raises:
        DataError: The truth cannot be read, or does not fit the clip.
    """
    if path is None:
        return [()] * frames
    return read_boxes(path, frames, size) if kind == "boxes" else read_masks(path, frames, size)


def read_boxes(path: Path, frames: int, size: tuple[int, int]) -> list[Boxes]:
    """Return the true boxes of each frame from a JSON file in one of `FORMATS`.

    The list of frames has one entry for every frame. The numbered frames count from 0, and a frame
    that is not named has no polyp; `width` and `height` may be given there too.

    Args:
        path: The file.
        frames: Number of frames of the clip.
        size: Height and width of its frames.

    Raises:
        DataError: The file cannot be read or has a different structure, was made for a clip of a
            different length or size, names a frame that the clip lacks or names one twice, or a box
            is empty or leaves the frame.
    """
    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except ValueError as error:
        raise DataError(
            f"{path} is not a file of boxes", expected=FORMATS, got=str(error)
        ) from error
    listed = isinstance(data, dict) and isinstance(data.get("frames"), list)
    truth: dict[int, list[Box]]
    try:
        if listed:
            by_corner = msgspec.convert(data, _Listed)
            declared = (by_corner.height, by_corner.width)
            truth = {
                number: [_from_corners(one.bbox) for one in boxes]
                for number, boxes in enumerate(by_corner.frames)
            }
        else:
            numbered = msgspec.convert(data, _Numbered)
            declared = (
                size[0] if numbered.height is None else numbered.height,
                size[1] if numbered.width is None else numbered.width,
            )
            truth = {_number(path, name): boxes for name, boxes in numbered.frames.items()}
    except msgspec.ValidationError as error:
        raise DataError(
            f"{path} is not a file of boxes", expected=FORMATS, got=str(error)
        ) from error
    if declared != size:
        raise DataError(
            f"{path} was made for another picture",
            expected=f"{size[1]}x{size[0]}, the size of the clip",
            got=f"{declared[1]}x{declared[0]}",
        )
    if listed and len(truth) != frames:
        raise DataError(
            f"{path} does not fit its clip", expected=f"{frames} frames", got=f"{len(truth)} frames"
        )
    for number, boxes in truth.items():
        if number >= frames:
            raise DataError(
                f"{path} names a frame that the clip lacks",
                expected=f"0 to {frames - 1}",
                got=f"frame {number}",
            )
        for box in boxes:
            _check_box(path, number, box, size)
    return [tuple(truth.get(number, ())) for number in range(frames)]


def read_masks(folder: Path, frames: int, size: tuple[int, int]) -> list[Boxes]:
    """Return the true boxes of each frame from a folder with one mask for every frame.

    The name of a mask ends in the number of its frame, counted from 0 or from 1, such as
    `mask_0012.png`. Each connected piece of a mask is one polyp.

    Args:
        folder: The masks.
        frames: Number of frames of the clip.
        size: Height and width of its frames.

    Raises:
        DataError: A mask is missing, surplus, unreadable or not a mask, or has a different size.
    """
    numbered: dict[int, Path] = {}
    for path in find_images(folder):
        number_match = re.search(r"(\d+)$", path.stem)
        if number_match is None:
            raise DataError(
                f"{path} names no frame", expected="a name that ends in the frame's number"
            )
        number = int(number_match[1])
        if number in numbered:
            raise DataError(f"{path} and {numbered[number]} are masks of the same frame")
        numbered[number] = path
    first = min(numbered)
    if first > 1 or sorted(numbered) != list(range(first, first + frames)):
        raise DataError(
            f"{folder} does not fit its clip",
            expected=f"one mask for each of {frames} frames, numbered from 0 or 1",
            got=f"{len(numbered)} masks, numbered {first} to {max(numbered)}",
        )
    truth = []
    for number in sorted(numbered):
        mask = read_mask(numbered[number])
        if mask.shape != size:
            raise DataError(
                f"{numbered[number]} does not fit its clip",
                expected=f"{size[1]}x{size[0]}, the size of the clip",
                got=f"{mask.shape[1]}x{mask.shape[0]}",
            )
        truth.append(boxes_of(mask))
    return truth


def boxes_of(mask: MaskBool) -> Boxes:
    """Return the boxes of the connected components of a mask, (H, W) bool, without specks."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    least = MIN_PIECE * mask.size
    return tuple(
        (int(left), int(top), int(width), int(height))
        for left, top, width, height, area in stats[1:count]
        if area >= least
    )


def _from_corners(corners: tuple[int, int, int, int]) -> Box:
    left, top, right, bottom = corners
    return left, top, right - left, bottom - top


def _check_box(path: Path, number: int, box: Box, size: tuple[int, int]) -> None:
    """Refuse a box that is empty or leaves the frame."""
    x, y, width, height = box
    if width <= 0 or height <= 0 or min(x, y) < 0 or x + width > size[1] or y + height > size[0]:
        raise DataError(
            f"{path} holds a box that does not lie in the picture",
            expected=f"a box with a width and a height inside {size[1]}x{size[0]} pixels",
            got=f"frame {number}: x {x}, y {y}, width {width}, height {height}",
        )


def _number(path: Path, name: str) -> int:
    """Return the number of a frame that a name spells without leading zeros."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", name):
        raise DataError(
            f"{path} names no frame", expected='a number such as "0" or "12"', got=repr(name)
        )
    return int(name)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object; refuse a duplicate key."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice")
    return unique
