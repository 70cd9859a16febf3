"""COCO annotations: polygons, run-length masks and boxes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edge.datasets.convert.drawing import Drawing, Pixels, Polygon, box, polygon
from edge.datasets.convert.run_length import from_coco
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.datasets.convert.drawing import Box, ImageFinder


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file has the lists of COCO."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read_coco(path: Path, content: Any, finder: ImageFinder, part: str = "") -> list[Drawing]:
    """One drawing for each picture of a COCO file.

    Args:
        path: The file.
        content: What it holds.
        finder: Finds the pictures.
        part: Part of a set that is split.

    Raises:
        DataError: An entry cannot be read, refers to a picture that is not listed, or a picture is
            missing.
    """
    names = {item.get("id"): item.get("name", "") for item in content.get("categories") or []}
    shapes: dict[Any, list[Polygon | Pixels | Box]] = defaultdict(list)
    try:
        for item in content["annotations"]:
            label = str(names.get(item.get("category_id"), ""))
            shapes[item["image_id"]] += _shapes(path, item, label)
        listed = {item["id"]: item for item in content["images"]}
        unknown = sorted(map(str, shapes.keys() - listed.keys()))
        if unknown:
            raise DataError(
                f"{path} annotates pictures that it does not list",
                got=f"image_id {', '.join(unknown[:3])}",
            )
        return [
            Drawing(
                finder.find(item["file_name"], path, near=path.parent),
                path,
                shapes[number],
                part,
                (int(item["width"]), int(item["height"])) if item.get("width") else None,
            )
            for number, item in listed.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a COCO file", expected="images and annotations", got=repr(error)
        ) from error


def _shapes(path: Path, item: Any, label: str) -> list[Polygon | Pixels | Box]:
    outline = item.get("segmentation")
    if isinstance(outline, dict):
        return [Pixels(label, from_coco(path, outline))]
    if outline:
        return [polygon(path, label, values) for values in outline]
    x, y, width, height = (float(value) for value in item["bbox"])
    return [box(path, label, x, y, x + width, y + height)]
