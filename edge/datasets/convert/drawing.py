"""What every annotation format is read into: shapes on a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from edge.datasets.image_files import SUFFIXES, decode_rgb, orientation
from edge.datasets.pairs import composed
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8, MaskBool

_SUBPIXEL_BITS = 4


class Polygon(NamedTuple):
    """An outline.

    Attributes:
        label: Name of its class.
        points: (N, 2) x and y in pixels; the upper left corner of the picture is (0, 0).
    """

    label: str
    points: NDArray[np.float64]


class Pixels(NamedTuple):
    """A mask.

    Attributes:
        label: Name of its class.
        inside: (H, W) of the picture.
    """

    label: str
    inside: MaskBool


class Box(NamedTuple):
    """A bounding box, which is not a mask.

    Attributes:
        label: Name of its class.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        width: Width in pixels.
        height: Height in pixels.
    """

    label: str
    x: float
    y: float
    width: float
    height: float


class Drawing(NamedTuple):
    """A picture and the shapes on it.

    Attributes:
        image: Path of the picture.
        source: Path of its annotation, for errors.
        shapes: Shapes; none if the picture shows no polyp.
        part: `train`, `validation` or `test`, empty for a set that is not split.
        size: Width and height that the annotation says, None if it says none.
    """

    image: Path
    source: Path
    shapes: list[Polygon | Pixels | Box]
    part: str = ""
    size: tuple[int, int] | None = None


def draw(shapes: Sequence[Polygon | Pixels], size: tuple[int, int]) -> MaskBool:
    """The union (H, W) of shapes.

    Args:
        shapes: Shapes on one picture.
        size: Height and width of the picture.
    """
    mask = np.zeros(size, np.uint8)
    for shape in shapes:
        if isinstance(shape, Pixels):
            mask[shape.inside] = 1
            continue
        # Pixel (0, 0) covers 0 to 1, and OpenCV counts from the centers of pixels.
        points = np.round((shape.points - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [points], (1,), shift=_SUBPIXEL_BITS)
    return mask > 0


def extent(shape: Polygon | Pixels | Box) -> Box | None:
    """The smallest box around a shape, in pixels; None for a mask without a pixel.

    Args:
        shape: A shape on a picture.
    """
    if isinstance(shape, Box):
        return shape
    if isinstance(shape, Polygon):
        (x, y), (right, low) = shape.points.min(axis=0), shape.points.max(axis=0)
        return Box(shape.label, float(x), float(y), float(right - x), float(low - y))
    rows, columns = np.nonzero(shape.inside)
    if len(rows) == 0:
        return None
    x, y = float(columns.min()), float(rows.min())
    return Box(shape.label, x, y, float(columns.max()) + 1 - x, float(rows.max()) + 1 - y)


def read_annotated(item: Drawing, data: bytes) -> ImageU8:
    """The pixels (H, W, 3) of a picture as annotators see it, RGB.

    Args:
        item: The picture and its shapes.
        data: The picture's file.

    Raises:
        DataError: It is not the picture that its annotation describes, or an EXIF orientation
            leaves that open.
    """
    if orientation(data) != 1:
        raise DataError(
            f"{item.image} has an EXIF orientation",
            expected="a picture as its annotation was drawn",
            got=f"orientation {orientation(data)}",
            hint="save the picture without its EXIF orientation",
        )
    image = decode_rgb(item.image, data)
    height, width = image.shape[:2]
    sizes = {item.size} if item.size else set()
    sizes |= {(s.inside.shape[1], s.inside.shape[0]) for s in item.shapes if isinstance(s, Pixels)}
    if sizes - {(width, height)}:
        other = next(iter(sizes - {(width, height)}))
        raise DataError(
            f"{item.image} is not the picture that {item.source} annotates",
            expected=f"{other[0]}x{other[1]} pixels",
            got=f"{width}x{height}",
        )
    return image


def polygon(source: Path, label: str, values: Iterable[Any]) -> Polygon:
    """An outline from numbers x, y, x, y, ...

    Raises:
        DataError: They are not numbers, or fewer than three points.
    """
    try:
        flat = np.array([float(value) for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: an outline is not numbers", got=str(error)) from error
    if len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise DataError(
            f"{source}: an outline is not a polygon",
            expected="x and y of at least three points",
            got=f"{len(flat)} numbers",
        )
    points = flat.reshape(-1, 2)
    width, height = points.max(axis=0) - points.min(axis=0)
    _refuse_shares(source, "an outline", width, height)
    return Polygon(label, points)


def box(source: Path, label: str, left: Any, upper: Any, right: Any, lower: Any) -> Box:
    """A box from its edges in pixels.

    Raises:
        DataError: They are not numbers, or the box is empty.
    """
    try:
        x, y, x2, y2 = (float(value) for value in (left, upper, right, lower))
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: a box is not numbers", got=str(error)) from error
    if not (x2 > x and y2 > y):
        raise DataError(f"{source}: an empty box", got=f"x {x:g} to {x2:g}, y {y:g} to {y2:g}")
    _refuse_shares(source, "a box", x2 - x, y2 - y)
    return Box(label, x, y, x2 - x, y2 - y)


def _refuse_shares(source: Path, what: str, width: float, height: float) -> None:
    """Refuse a shape that is smaller than a pixel, as those in shares of the picture are."""
    if max(width, height) < 1:
        raise DataError(
            f"{source}: {what} is smaller than a pixel",
            expected="x and y in pixels of the picture",
            got=f"{width:g}x{height:g}, as in shares of the picture",
            hint="multiply x by the picture's width and y by its height",
        )


class ImageFinder:
    """Finds pictures by the names that annotations give them.

    Args:
        root: Folder that is searched with all folders in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                self._by_name.setdefault(composed(path.name), []).append(path)
                self._stems.setdefault(composed(path.stem), []).append(path)

    def find(self, name: str, source: Path, *, near: Path | None = None) -> Path:
        """The picture of a name, with or without folders and suffix.

        Args:
            name: As the annotation says.
            source: Path of the annotation, for errors.
            near: Folder that wins if several pictures have the name.

        Raises:
            DataError: There is no such picture, or several.
        """
        name = name.replace("\\", "/")
        for home in filter(None, (near, self.root, self.root / "images")):
            if name and (home / name).is_file():
                return home / name
        parts = composed(name).split("/")
        paths = self._by_name.get(parts[-1]) or self._stems.get(parts[-1]) or []
        for count in range(2, len(parts) + 1):
            longer = [path for path in paths if _ends_with(path, parts[-count:])]
            paths = longer or paths
        if near is not None and len(paths) > 1:
            paths = [path for path in paths if near in path.parents] or paths
        if len(paths) != 1:
            raise DataError(
                f"{source} names a picture that {'is not there' if not paths else 'is not unique'}",
                expected=f"one file {name} in {self.root}",
                got=", ".join(map(str, paths[:3])) or "none",
                hint="give the folder of the pictures",
            )
        return paths[0]


def _ends_with(path: Path, parts: Sequence[str]) -> bool:
    return [composed(part) for part in path.parts[-len(parts) :]] == list(parts)
