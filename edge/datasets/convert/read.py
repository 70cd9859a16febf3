"""Find out which tool wrote annotations, and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.datasets.convert.boxes_file import BOXES, is_boxes, read_boxes
from edge.datasets.convert.coco import is_coco, read_coco
from edge.datasets.convert.drawing import ImageFinder
from edge.datasets.convert.tables import is_kvasir, read_csv, read_kvasir
from edge.datasets.convert.tools import parse_xml, read_cvat, read_json, read_labelme, read_voc
from edge.datasets.convert.yolo import read_yolo, yolo_folders
from edge.datasets.parts import TEST, TRAIN, VALIDATION
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.datasets.convert.drawing import Drawing

FORMATS = f"COCO, YOLO, LabelMe, CVAT, Pascal VOC, Kvasir-SEG's boxes, {BOXES}, or CSV"
_PARTS = {name: parts[0] for parts in (TRAIN, VALIDATION, TEST) for name in parts}


def read_annotations(source: Path, images: Path | None = None) -> tuple[str, list[Drawing]]:
    """Read annotations in whatever format they are.

    Args:
        source: A file of annotations, or a folder with them.
        images: Folder of the pictures; by default the folder of the annotations.

    Returns:
        Name of the format, and a drawing for each picture. Parts are named `train`, `validation` or
        `test`.

    Raises:
        DataError: The format is not known, a file cannot be read, or a picture is missing.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist", expected=FORMATS)
    if source.is_file():
        name, drawings = _read_file(source, ImageFinder(images or source.parent), "")
    else:
        name, drawings = _read_folder(source, images)
    if not drawings:
        raise DataError(f"{source} holds no annotated picture", expected=FORMATS)
    return name, [item._replace(part=_part(item.part)) for item in drawings]


def _read_folder(source: Path, images: Path | None) -> tuple[str, list[Drawing]]:
    if any(yolo_folders(source)):
        return "YOLO", read_yolo(source)
    finder = ImageFinder(images or source)
    annotated = source / "Annotations"
    if annotated.is_dir() and list(annotated.glob("*.xml")):
        masks = source / "SegmentationClass"
        files = sorted(annotated.glob("*.xml"))
        return "Pascal VOC", read_voc(files, finder, masks if masks.is_dir() else None)
    files = sorted(
        path
        for suffix in ("json", "xml", "csv")
        for path in source.rglob(f"*.{suffix}")
        if not path.name.startswith(".")
    )
    several = len(files) > 1
    read = [_read_file(path, finder, _part_of(path, source) if several else "") for path in files]
    names = sorted({name for name, _ in read})
    if len(names) > 1:
        raise DataError(
            f"{source} holds annotations of several kinds",
            expected="one kind, or the file of one",
            got=", ".join(names),
        )
    return names[0] if names else "", [item for _, drawings in read for item in drawings]


def _read_file(path: Path, finder: ImageFinder, part: str) -> tuple[str, list[Drawing]]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "CSV", [item._replace(part=part) for item in read_csv(path, finder)]
    if suffix == ".xml":
        if parse_xml(path).tag == "annotations":
            drawings = read_cvat(path, finder)
            return "CVAT", [item._replace(part=item.part or part) for item in drawings]
        return "Pascal VOC", read_voc([path], finder, None)
    if suffix == ".json":
        content = read_json(path)
        if is_coco(content):
            return "COCO", read_coco(path, content, finder, part)
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            return "LabelMe", [item._replace(part=part) for item in read_labelme([path], finder)]
        if is_kvasir(content):
            return "Kvasir-SEG's boxes", read_kvasir(path, content, finder)
        if is_boxes(content):
            return BOXES, read_boxes(path, content, finder, part)
    raise DataError(f"{path} is in no format that is known", expected=FORMATS)


def _part_of(path: Path, root: Path) -> str:
    """The part that a file is named after, or a folder around it."""
    inside = path.relative_to(root)
    words = inside.stem.lower().replace("-", "_").split("_")
    names = [*words, *(folder.lower() for folder in inside.parent.parts)]
    return next((name for name in names if name in _PARTS), "")


def _part(name: str) -> str:
    return _PARTS.get(name.lower(), "")
