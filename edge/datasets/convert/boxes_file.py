"""`boxes.json`: boxes of the pictures beside it, as `write_folder` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge.datasets.convert.drawing import Drawing, box
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.datasets.convert.drawing import Box, ImageFinder, Pixels, Polygon

BOXES = "boxes.json"
"""File of a part whose annotations are only boxes."""


class BoxRow(msgspec.Struct, frozen=True):
    """A box in `boxes.json`, in pixels of its picture."""

    label: str
    x: float
    y: float
    width: float
    height: float


class BoxedImage(msgspec.Struct, frozen=True):
    """A picture in `boxes.json`."""

    image: str
    width: int
    height: int
    boxes: list[BoxRow]


def is_boxes(content: Any) -> bool:
    """Whether the content of a JSON file lists pictures with their boxes."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(item, dict) and {"image", "boxes"} <= item.keys() for item in content)
    )


def read_boxes(path: Path, content: Any, finder: ImageFinder, part: str = "") -> list[Drawing]:
    """One drawing for each picture of a `boxes.json`.

    Args:
        path: The file.
        content: What it holds.
        finder: Finds the pictures.
        part: Part of a set that is split.

    Raises:
        DataError: An entry cannot be read, or a picture is missing.
    """
    try:
        pictures = msgspec.convert(content, list[BoxedImage])
    except msgspec.ValidationError as error:
        raise DataError(
            f"{path} is not a list of boxes", expected=f"{BOXES} as written", got=str(error)
        ) from error
    drawings = []
    for picture in pictures:
        shapes: list[Polygon | Pixels | Box] = [
            box(path, row.label, row.x, row.y, row.x + row.width, row.y + row.height)
            for row in picture.boxes
        ]
        image = finder.find(picture.image, path, near=path.parent)
        drawings.append(Drawing(image, path, shapes, part, (picture.width, picture.height)))
    return drawings
