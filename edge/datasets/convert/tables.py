"""Boxes and masks in tables: CSV files, and the bounding boxes of Kvasir-SEG in JSON."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edge.datasets.convert.drawing import Drawing, Pixels, box
from edge.datasets.convert.run_length import from_pairs
from edge.datasets.image_files import read_image
from edge.datasets.masks import read_mask
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.datasets.convert.drawing import Box, ImageFinder, Polygon

IMAGE_COLUMNS = (
    "filename",
    "file_name",
    "image",
    "image_path",
    "image_id",
    "imageid",
    "img",
    "file",
)
MASK_COLUMNS = ("mask", "mask_path", "gt", "label_path")
RUN_COLUMNS = ("encodedpixels", "encoded_pixels", "rle", "segmentation")
LABEL_COLUMNS = ("class", "label", "category", "name")
BOX_COLUMNS = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
WIDE_BOX_COLUMNS = (("x", "y", "width", "height"), ("x", "y", "w", "h"))


def is_kvasir(content: Any) -> bool:
    """Return whether a JSON file maps names of pictures to boxes, as Kvasir-SEG's does."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(item, dict) and "bbox" in item for item in content.values())
    )


def read_kvasir(path: Path, content: Any, finder: ImageFinder) -> list[Drawing]:
    """One drawing for each picture in Kvasir-SEG's file of bounding boxes.

    Raises:
        DataError: An entry cannot be read, or a picture is missing.
    """
    drawings = []
    for name, item in content.items():
        shapes: list[Polygon | Pixels | Box] = []
        if not isinstance(item["bbox"], list):
            raise DataError(f"{path}: {name} has no list of boxes", got=repr(item["bbox"]))
        for entry in item["bbox"]:
            try:
                edges = [entry[edge] for edge in ("xmin", "ymin", "xmax", "ymax")]
            except (KeyError, TypeError) as error:
                raise DataError(f"{path}: a box of {name} lacks {error}") from error
            shapes.append(box(path, str(entry.get("label", "")), *edges))
        size = (int(item["width"]), int(item["height"])) if item.get("width") else None
        drawings.append(Drawing(finder.find(name, path), path, shapes, size=size))
    return drawings


def read_csv(path: Path, finder: ImageFinder) -> list[Drawing]:
    """One drawing for each picture of a table with masks, run lengths or boxes.

    Raises:
        DataError: The columns are unknown, a row cannot be read, or a file is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read", expected="CSV in UTF-8", got=str(error)
        ) from error
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    names = {str(name).strip().lower(): name for name in rows.fieldnames or []}
    image = _column(names, IMAGE_COLUMNS)
    edges = next(
        (columns for columns in BOX_COLUMNS + WIDE_BOX_COLUMNS if set(columns) <= names.keys()),
        None,
    )
    mask, runs = _column(names, MASK_COLUMNS), _column(names, RUN_COLUMNS)
    if image is None or not (mask or runs or edges):
        raise DataError(
            f"{path} has no columns that are known",
            expected=f"a column {' or '.join(IMAGE_COLUMNS[:3])}, and mask, EncodedPixels, or "
            "xmin, ymin, xmax and ymax",
            got=", ".join(names) or "no header",
        )
    shapes: dict[Path, list[Polygon | Pixels | Box]] = defaultdict(list)
    for number, row in enumerate(rows, 2):
        where = path.with_name(f"{path.name}:{number}")
        picture = finder.find((row[image] or "").strip(), where)
        label = (row[names[_label]] or "") if (_label := _key(names, LABEL_COLUMNS)) else ""
        if mask and (row[mask] or "").strip():
            mask_path = finder.find(row[mask].strip(), where)
            shapes[picture].append(Pixels(label, read_mask(mask_path)))
        elif runs:
            size = read_image(picture).shape
            text = (row[runs] or "").strip()
            shapes[picture].append(Pixels(label, from_pairs(where, text, (size[0], size[1]))))
        elif edges and (row[names[edges[0]]] or "").strip():
            values = [_number(where, row[names[edge]]) for edge in edges]
            if edges in WIDE_BOX_COLUMNS:
                values[2:] = values[0] + values[2], values[1] + values[3]
            shapes[picture].append(box(where, label, *values))
        else:
            shapes[picture] += []
    return [Drawing(picture, path, pixels) for picture, pixels in shapes.items()]


def _key(names: dict[str, Any], candidates: tuple[str, ...]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _column(names: dict[str, Any], candidates: tuple[str, ...]) -> Any:
    key = _key(names, candidates)
    return None if key is None else names[key]


def _number(where: Path, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise DataError(f"{where}: a box is not numbers", got=str(error)) from error
