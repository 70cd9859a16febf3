"""YOLO labels: a file for each picture, a line for each polygon or box, in shares of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.datasets.convert.drawing import Drawing, box, polygon
from edge.datasets.image_files import SUFFIXES, read_image
from edge.datasets.pairs import composed
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.datasets.convert.drawing import Box, Pixels, Polygon

_BOX = 5
"""Numbers in the line of a box: class, center and size."""


def yolo_folders(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Part, folder of pictures and folder of labels of a YOLO data set in its usual layouts."""
    if (root / "images").is_dir() and (root / "labels").is_dir():
        parts = [path.name for path in sorted((root / "images").iterdir()) if path.is_dir()]
        for part in parts or [""]:
            yield part, root / "images" / part, root / "labels" / part
        return
    for path in sorted(root.iterdir()):
        if (path / "images").is_dir() and (path / "labels").is_dir():
            yield path.name, path / "images", path / "labels"


def read_yolo(root: Path) -> list[Drawing]:
    """One drawing for each picture; one without a label file or with an empty one has no polyp.

    Raises:
        DataError: A label has no picture, or a line cannot be read.
    """
    names = _class_names(root)
    drawings = []
    for part, images, labels in yolo_folders(root):
        pictures = {
            composed(path.stem): path
            for path in sorted(images.iterdir())
            if path.suffix.lower() in SUFFIXES
        }
        files = {composed(path.stem): path for path in sorted(labels.glob("*.txt"))}
        alone = sorted(files.keys() - pictures.keys() - {"classes"})
        if alone:
            raise DataError(
                f"{files[alone[0]]} has no picture",
                expected=f"{images / alone[0]}.jpg or another image format",
                got=f"{len(alone)} labels without a picture",
            )
        if pictures and not files:
            raise DataError(f"{labels} holds no labels", expected="a text file for each picture")
        for stem, image in pictures.items():
            shapes = _read_lines(files[stem], image, names) if stem in files else []
            drawings.append(Drawing(image, files.get(stem, image), shapes, part))
    return drawings


def _read_lines(path: Path, image: Path, names: dict[int, str]) -> list[Polygon | Pixels | Box]:
    height, width = read_image(image).shape[:2]
    shapes: list[Polygon | Pixels | Box] = []
    for number, line in enumerate(_lines(path), 1):
        if not line:
            continue
        try:
            kind, *values = (float(value) for value in line.split())
            number_of_class = int(kind)
        except (OverflowError, ValueError) as error:
            raise DataError(f"{path}, line {number} is not numbers", got=str(error)) from error
        if any(not -0.01 <= value <= 1.01 for value in values):
            raise DataError(
                f"{path}, line {number} does not give shares of the picture",
                expected="numbers from 0 to 1",
                got=f"{min(values):g} to {max(values):g}",
            )
        label = names.get(number_of_class, str(number_of_class))
        where = path.with_name(f"{path.name}:{number}")
        if len(values) + 1 == _BOX:
            x, y, w, h = values
            edges = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width
            shapes.append(box(where, label, *edges, (y + h / 2) * height))
            continue
        scaled = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        shapes.append(polygon(where, label, scaled))
    return shapes


def _class_names(root: Path) -> dict[int, str]:
    """Names of classes, a line each in classes.txt; none without it."""
    path = root / "classes.txt"
    return dict(enumerate(_lines(path))) if path.is_file() else {}


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", expected="UTF-8 text", got=str(error)) from error
