"""Folders of images and masks: pairing, reading, and one clear error for everything that can be wrong.

A data folder has `images/` and `masks/`; an image and its mask share their stem, whatever their formats. Other
layouts, of the benchmarks, are known to `edge.datasets.public_sets`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import ImageU8, MaskBool

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_ENDINGS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND"}
_BLACK, _WHITE = 64, 192
_EXPECTED_MASK = "a grey picture that is black (0) outside and white (255) inside the polyp"


class Pair(NamedTuple):
    """An image, its mask and the stem that they share."""

    image: Path
    mask: Path
    name: str


def find_pairs(root: Path) -> list[Pair]:
    """Pair `root/images` with `root/masks` by stem, in natural order (2 before 10).

    Only names are looked at here; `read_pair` checks the content.

    Raises:
        DataError: A folder is missing or empty, an image or a mask has no partner, two files share a stem.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", expected="a folder with images/ and masks/")
    return pair_folders(root / "images", root / "masks")


def pair_folders(images: Path, masks: Path) -> list[Pair]:
    """Pair the files of two folders by stem, in natural order.

    A `p` before every mask's stem, as in the archive of ETIS-LaribPolypDB, is no part of it.

    Raises:
        DataError: A folder is missing or empty, an image or a mask has no partner, two files share a stem.
    """
    left, right = _by_stem(images), _by_stem(masks)
    if not left.keys() & right.keys() and all(stem.startswith("p") for stem in right):
        right = {stem[1:]: path for stem, path in right.items()}
    for here, there, kind, other, folder in (
        (left, right, "image", "mask", masks),
        (right, left, "mask", "image", images),
    ):
        alone = sorted(here.keys() - there.keys(), key=_natural)
        if alone:
            raise DataError(
                f"{kind} {here[alone[0]]} has no {other}",
                expected=f"{folder}/{alone[0]}.png or another image format",
                got=f"{len(alone)} of {len(here)} {kind}s without {other}: {', '.join(alone[:5])}"
                + (", ..." if len(alone) > 5 else ""),
                hint=f"give each image a mask of the same name (all black where there is no polyp), or move the {kind} away",
            )
    return [Pair(left[stem], right[stem], stem) for stem in sorted(left, key=_natural)]


def find_images(root: Path) -> list[Path]:
    """Pictures of `root/images`, or of `root` itself where there is no such folder, in natural order.

    Raises:
        DataError: The folder is missing or empty, or two files share a stem.
    """
    where = root / "images" if (root / "images").is_dir() else root
    if not where.is_dir():
        raise DataError(f"{where} is not a folder", expected="a folder of pictures")
    found = _by_stem(where)
    return [found[stem] for stem in sorted(found, key=_natural)]


def dataset_names(roots: Sequence[Path]) -> list[str]:
    """Names of data folders: the folder's own, with its parent's before it where two would be the same.

    Raises:
        UsageError: A folder is given twice.
    """
    resolved = [root.resolve() for root in roots]
    for index, root in enumerate(resolved):
        if root in resolved[:index]:
            raise UsageError(f"{roots[index]} was given twice", expected="each data folder once")
    short = [root.name for root in resolved]
    return [
        f"{root.parent.name}-{root.name}" if short.count(root.name) > 1 else root.name for root in resolved
    ]


def read_image(path: Path) -> ImageU8:
    """The picture as (H, W, 3) uint8 RGB.

    Raises:
        DataError: The file is missing, empty, cut short or no image.
    """
    image: ImageU8 = cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image


def read_mask(path: Path) -> MaskBool:
    """The mask as (H, W) bool, true where the picture is brighter than 127.

    Soft edges and the noise of a JPEG mask are fine.

    Raises:
        DataError: The file cannot be read, or what it shows is not a mask.
    """
    grey: ImageU8 = _decode(path, cv2.IMREAD_GRAYSCALE)
    peak = int(grey.max())
    noise = 48 if path.suffix.lower() in _LOSSY else 0
    if noise < peak <= 127:
        raise DataError(
            f"{path} is not a mask",
            expected=_EXPECTED_MASK,
            got=f"no pixel over {peak}, as if it held class numbers or colours",
            hint="multiply class 1 to 255, or paint the polyp white",
        )
    between = int(np.count_nonzero((grey > _BLACK) & (grey < _WHITE)))
    white = int(np.count_nonzero(grey >= _WHITE))
    # A soft edge is a small part of the picture; a photograph or coloured label is mostly in between.
    if between > 0.1 * grey.size or (between > 0.02 * grey.size and between > white):
        raise DataError(
            f"{path} is not a mask",
            expected=_EXPECTED_MASK,
            got=f"{100 * between / grey.size:.0f} % of its pixels between black and white",
            hint="check that images/ and masks/ are not swapped",
        )
    mask: MaskBool = grey > 127
    return mask


def read_pair(image: Path, mask: Path) -> tuple[ImageU8, MaskBool]:
    """Image (H, W, 3) uint8 RGB and mask (H, W) bool of one pair.

    Raises:
        DataError: One cannot be read, the mask is not a mask, or their sizes differ.
    """
    pixels, inside = read_image(image), read_mask(mask)
    if pixels.shape[:2] != inside.shape:
        raise DataError(
            f"{mask} does not fit its image {image}",
            expected=f"{pixels.shape[1]}x{pixels.shape[0]} pixels, the size of the image",
            got=f"{inside.shape[1]}x{inside.shape[0]}",
            hint="export the mask at the size of its image",
        )
    return pixels, inside


def _by_stem(where: Path) -> dict[str, Path]:
    if not where.is_dir():
        root, folder = where.parent, where.name
        parts = [part for part in ("train", "validation") if (root / part / folder).is_dir()]
        raise DataError(
            f"{where} is missing",
            expected=f"{root} with the folders images/ and masks/",
            hint=f"give one part of it: {root / parts[-1]}" if parts else "",
        )
    found: dict[str, Path] = {}
    for path in sorted(where.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(
                f"{found[path.stem]} and {path} share a name",
                expected="one file per name",
                hint="rename or remove one",
            )
        found[path.stem] = path
    if not found:
        raise DataError(
            f"{where} holds no images",
            expected="files ending in " + ", ".join(sorted(SUFFIXES)),
        )
    return found


def _natural(stem: str) -> tuple[list[tuple[int, str]], str]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", stem)], stem


def _decode(path: Path, mode: int) -> ImageU8:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    for start, end in _ENDINGS.items():
        # Decoders fill the missing rest of a cut file with grey and say nothing.
        if data.startswith(start) and end not in data[-4096:]:
            raise DataError(f"{path} is cut short", got=f"{len(data)} bytes", hint="copy the file again")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    if decoded is None:
        raise DataError(
            f"{path} is not a readable image",
            got=f"{len(data)} bytes that no image format fits",
            hint="replace or remove the file and its partner",
        )
    image: ImageU8 = decoded
    return image
