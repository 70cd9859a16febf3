"""Annotations as files of labeling tools: LabelMe (JSON) and CVAT (XML), and Pascal VOC (XML)."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.datasets.convert.drawing import Box, Drawing, Pixels, Polygon, box, polygon
from edge.datasets.convert.run_length import from_rows
from edge.datasets.image_files import palette_indices, read_bytes
from edge.datasets.masks import decode_mask
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.datasets.convert.drawing import ImageFinder

VOC_UNSURE = 255
"""Palette entry of Pascal VOC for outlines that belong to no class."""
_CIRCLE_POINTS = 90


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", expected="JSON", got=str(error)) from error


def read_labelme(files: Sequence[Path], finder: ImageFinder) -> list[Drawing]:
    """One drawing for each file of LabelMe.

    Raises:
        DataError: A file or shape cannot be read, or a picture is missing.
    """
    drawings = []
    for path in files:
        content = read_json(path)
        image = finder.find(str(content.get("imagePath") or path.stem), path, near=path.parent)
        shapes: list[Polygon | Pixels | Box] = [
            _labelme_shape(path, shape) for shape in content["shapes"]
        ]
        width, height = content.get("imageWidth"), content.get("imageHeight")
        size = (int(width), int(height)) if width and height else None
        drawings.append(Drawing(image, path, shapes, size=size))
    return drawings


def _labelme_shape(path: Path, shape: Any) -> Polygon | Box:
    try:
        kind, label = shape.get("shape_type") or "polygon", str(shape.get("label", ""))
        points = [(float(x), float(y)) for x, y in shape["points"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a shape cannot be read", got=str(error)) from error
    if kind == "polygon":
        return polygon(path, label, (value for point in points for value in point))
    if kind == "rectangle" and len(points) in (2, 4):
        columns, rows = zip(*points, strict=True)
        return box(path, label, min(columns), min(rows), max(columns), max(rows))
    if kind == "circle" and len(points) == 2:
        (x, y), (rim_x, rim_y) = points
        radius = math.hypot(rim_x - x, rim_y - y)
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
        return Polygon(
            label, np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        )
    raise DataError(
        f"{path}: a shape is not an area",
        expected="polygon, rectangle or circle",
        got=f"{kind} of {len(points)} points",
        hint="draw the polyp as a polygon, or remove the shape",
    )


def read_cvat(path: Path, finder: ImageFinder) -> list[Drawing]:
    """One drawing for each picture of a CVAT file for images.

    Raises:
        DataError: The file or a shape cannot be read, or a picture is missing.
    """
    return [_cvat_image(path, item, finder) for item in parse_xml(path).iter("image")]


def _cvat_image(path: Path, item: ET.Element, finder: ImageFinder) -> Drawing:
    name, subset = item.get("name", ""), item.get("subset", "")
    try:
        size = (int(item.get("width", "")), int(item.get("height", "")))
    except ValueError as error:
        raise DataError(f"{path}: {name} has no size", got=str(error)) from error
    shapes: list[Polygon | Pixels | Box] = []
    for shape in item:
        label = shape.get("label", "")
        if shape.tag == "polygon":
            points = shape.get("points", "").replace(";", ",").split(",")
            shapes.append(polygon(path, label, points))
        elif shape.tag == "box":
            _refuse_rotated(path, name, shape.get("rotation"))
            edges = (shape.get(edge) for edge in ("xtl", "ytl", "xbr", "ybr"))
            shapes.append(box(path, label, *edges))
        elif shape.tag == "mask":
            shapes.append(_cvat_mask(path, shape, size))
        elif shape.tag not in ("tag", "attribute"):
            raise DataError(
                f"{path}: a shape of {name} is not an area",
                expected="polygon, mask or box",
                got=shape.tag,
                hint="draw the polyp as a polygon, or remove the shape",
            )
    return Drawing(finder.find(name, path), path, shapes, part=subset.lower(), size=size)


def _refuse_rotated(path: Path, name: str, rotation: str | None) -> None:
    if rotation and rotation.strip("0.") not in ("", "-"):
        raise DataError(
            f"{path}: a box of {name} is rotated",
            expected="edges along those of the picture",
            got=f"{rotation} degrees",
            hint="draw the polyp as a polygon, or the box without a rotation",
        )


def _cvat_mask(path: Path, shape: ET.Element, size: tuple[int, int]) -> Pixels:
    try:
        left, top, width, height = (
            int(float(shape.get(key, ""))) for key in ("left", "top", "width", "height")
        )
        runs = [int(run) for run in shape.get("rle", "").split(",")]
    except ValueError as error:
        raise DataError(f"{path}: a mask cannot be read", got=str(error)) from error
    inside = np.zeros((size[1], size[0]), bool)
    part = inside[top : top + height, left : left + width]
    if left < 0 or top < 0 or part.shape != (height, width):
        raise DataError(f"{path}: a mask does not fit its picture", got=f"at {left}, {top}")
    part[:] = from_rows(path, runs, (height, width))
    return Pixels(shape.get("label", ""), inside)


def read_voc(files: Sequence[Path], finder: ImageFinder, masks: Path | None) -> list[Drawing]:
    """One drawing for each file of Pascal VOC: its segmentation if there is one, else its boxes.

    Args:
        files: Files of the folder Annotations.
        finder: Finds the pictures.
        masks: Folder SegmentationClass, None without one.

    Raises:
        DataError: A file cannot be read, or a picture is missing.
    """
    drawings = []
    for path in files:
        root = parse_xml(path)
        image = finder.find(root.findtext("filename") or path.stem, path)
        mask = None if masks is None else masks / f"{path.stem}.png"
        if mask is not None and mask.is_file():
            drawings.append(
                Drawing(image, mask, [Pixels("", _voc_mask(mask))], size=_voc_size(root))
            )
            continue
        shapes: list[Polygon | Pixels | Box] = []
        for item in root.iter("object"):
            edges = (item.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
            shapes.append(box(path, item.findtext("name") or "", *edges))
        drawings.append(Drawing(image, path, shapes, size=_voc_size(root)))
    return drawings


def _voc_size(root: ET.Element) -> tuple[int, int] | None:
    """Width and height that a file says; some tools leave 0."""
    width, height = (root.findtext(f"size/{side}") or "" for side in ("width", "height"))
    if width.isdecimal() and height.isdecimal() and int(width) and int(height):
        return int(width), int(height)
    return None


def _voc_mask(path: Path) -> Any:
    data = read_bytes(path)
    classes = palette_indices(path, data)
    if classes is None:
        return decode_mask(path, data)
    inside = (classes > 0) & (classes != VOC_UNSURE)
    if not inside.any() and classes.any():
        raise DataError(
            f"{path} is not a segmentation",
            expected="classes as entries of its palette, and 255 for outlines",
            got="entries 0 and 255 alone",
            hint="save it without a palette",
        )
    return inside


def parse_xml(path: Path) -> ET.Element:
    """The root of an XML file.

    Raises:
        DataError: It cannot be read, or it defines entities, which no such file needs.
    """
    try:
        data = path.read_bytes()
        if b"<!ENTITY" in data:
            raise DataError(f"{path} defines entities", expected="annotations as XML")
        return ET.fromstring(data)
    except (OSError, ET.ParseError) as error:
        raise DataError(f"{path} cannot be read", expected="XML", got=str(error)) from error
