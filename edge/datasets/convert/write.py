"""Write what was read from annotations: images/ and masks/, or images/ and boxes.json."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.datasets.convert.boxes_file import BOXES, BoxedImage, BoxRow
from edge.datasets.convert.drawing import Box, Pixels, draw, read_annotated
from edge.datasets.image_files import read_bytes
from edge.errors import DataError, UsageError
from edge.util.files import PRIVATE_FOLDER, atomic_dir, naming, write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from edge.datasets.convert.drawing import Drawing, Polygon
    from edge.util.progress import Progress


class Converted(NamedTuple):
    """What was written.

    Attributes:
        images: Number of pictures.
        with_polyp: Number of pictures with a mask that is not empty, or with a box.
        masks: Whether masks were written; else there are only boxes.
        labels: Name of a class -> number of its shapes.
    """

    images: int
    with_polyp: int
    masks: bool
    labels: dict[str, int]


def write_folder(
    drawings: Sequence[Drawing],
    out: Path,
    *,
    labels: Collection[str] = (),
    force: bool = False,
    bar: Progress | None = None,
) -> Converted:
    """Draw the masks and write a data folder; every picture is copied as it is.

    A set that is split gets `train/`, `validation/` and `test/`.

    Args:
        drawings: Pictures with their shapes.
        out: Folder to write.
        labels: Classes that count as polyp; all if empty.
        force: Replace an existing folder.
        bar: Counts the pictures.

    Raises:
        DataError: Boxes beside masks, a picture that is not as its annotation says, or two pictures
            of one name. Nothing is written then.
        UsageError: `out` exists, or no shape has one of `labels`.
    """
    counts = Counter(shape.label for item in drawings for shape in item.shapes)
    if labels and not counts.keys() & set(labels):
        raise UsageError(
            f"no shape is labeled {', '.join(sorted(labels))}",
            expected=", ".join(sorted(filter(None, counts))) or "no labels are given",
        )
    chosen = [
        item._replace(shapes=[s for s in item.shapes if not labels or s.label in labels])
        for item in drawings
    ]
    as_masks = _need_masks(chosen)
    with_polyp = 0
    with atomic_dir(out, force=force, mode=PRIVATE_FOLDER) as folder:
        boxed: dict[Path, list[BoxedImage]] = defaultdict(list)
        names: set[Path] = set()
        for item in chosen:
            home = folder / item.part
            image = home / "images" / item.image.name
            if image.with_suffix("") in names:
                raise DataError(
                    f"two pictures are named {image.stem}", got=str(item.image), hint="rename one"
                )
            names.add(image.with_suffix(""))
            data = read_bytes(item.image)
            height, width = read_annotated(item, data).shape[:2]
            size = (height, width)
            _write(image, data)
            if as_masks:
                mask = draw([s for s in item.shapes if not isinstance(s, Box)], size)
                _refuse_lost(item, bool(mask.any()))
                encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]
                _write(home / "masks" / f"{image.stem}.png", encoded.tobytes())
            else:
                rows = [BoxRow(*s) for s in item.shapes if isinstance(s, Box)]
                _refuse_outside(item, rows, size)
                boxed[home].append(BoxedImage(image.name, width, height, rows))
            with_polyp += bool(item.shapes)
            if bar is not None:
                bar.update()
        for home, pictures in boxed.items():
            write_json(home / BOXES, pictures)
    return Converted(len(chosen), with_polyp, as_masks, dict(counts))


def _need_masks(drawings: Sequence[Drawing]) -> bool:
    """False for boxes alone.

    Raises:
        DataError: Some pictures have only boxes, others have masks.
    """
    outlined = [item for item in drawings if any(not isinstance(s, Box) for s in item.shapes)]
    boxed = [item for item in drawings if any(isinstance(s, Box) for s in item.shapes)]
    if outlined and boxed:
        raise DataError(
            f"{boxed[0].source} has boxes beside masks",
            expected="outlines or masks of all polyps, or boxes of all",
            got=f"boxes on {len(boxed)} of {len(drawings)} pictures, such as {boxed[0].image.name}",
            hint="a mask without the polyp in a box would be wrong: draw it, or remove the box",
        )
    return not boxed


def _refuse_lost(item: Drawing, has_mask: bool) -> None:
    if item.shapes and not has_mask and not _are_empty(item.shapes):
        raise DataError(
            f"{item.source}: the shapes on {item.image.name} lie outside of it",
            expected="x and y in pixels of the picture",
        )


def _refuse_outside(item: Drawing, rows: Sequence[BoxRow], size: tuple[int, int]) -> None:
    for row in rows:
        inside = row.x < size[1] and row.y < size[0] and row.x + row.width > 0
        if not (inside and row.y + row.height > 0):
            raise DataError(
                f"{item.source}: a box on {item.image.name} lies outside of it",
                expected=f"x and y inside {size[1]}x{size[0]} pixels",
                got=f"{row.width:g}x{row.height:g} at {row.x:g}, {row.y:g}",
            )


def _are_empty(shapes: Sequence[Polygon | Pixels | Box]) -> bool:
    return all(isinstance(shape, Pixels) and not shape.inside.any() for shape in shapes)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        path.write_bytes(data)
