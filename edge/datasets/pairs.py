"""Folders of images and masks: pairing and reading, with one clear error for every problem.

A data folder has `images/` and `masks/`, or another layout of `LAYOUTS`; an image and its mask have
the same name, in any format. `edge.datasets.public_sets` knows the layouts of benchmarks.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from edge.datasets.image_files import SUFFIXES, decode_rgb, orientation, read_bytes, read_image
from edge.datasets.mask_names import match_names
from edge.datasets.masks import decode_mask, read_mask
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge.frame import ImageU8, MaskBool

__all__ = [
    "LAYOUTS",
    "SUFFIXES",
    "Pair",
    "composed",
    "dataset_names",
    "find_images",
    "find_pairs",
    "layout_has_videos",
    "layouts",
    "pair_folders",
    "read_image",
    "read_mask",
    "read_pair",
]


LAYOUTS = (
    ("images", "masks"),
    ("image", "mask"),
    ("Original", "Ground Truth"),
    ("images", "Ground Truth"),
    ("Frame", "GT"),
    ("images", "GT"),
    ("img", "mask"),
    ("imgs", "masks"),
    ("frames", "masks"),
    ("JPEGImages", "SegmentationClass"),
)
"""Folder names of images and of masks in common data sets, compared case-insensitively."""
FORMAT_FOLDERS = ("PNG", "TIF")
"""Folders in which an archive holds the same frames in two formats; the first one is read."""


class Pair(NamedTuple):
    """An image and its mask.

    Attributes:
        image: Path of the image.
        mask: Path of its mask.
        name: The common stem, after `VIDEO/` if each video has its own folder.
        video: Name of the video's folder; empty if there is none.
    """

    image: Path
    mask: Path
    name: str
    video: str = ""


def find_pairs(root: Path) -> list[Pair]:
    """Pair the images and masks of a folder in one of `LAYOUTS`, in natural order (2 before 10).

    Videos in separate folders, as in SUN-SEG (`Frame/VIDEO`, `GT/VIDEO`), are paired too; the names
    of their frames are `VIDEO/stem`. Only names are compared here; `read_pair` checks the content.

    Raises:
        DataError: A folder is missing or empty, an image or a mask has no partner, or two files
            have the same name.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", expected="a folder with images/ and masks/")
    layout = next((candidate for home in _homes(root) for candidate in layouts(home)), None)
    if layout is None:
        return pair_folders(root / "images", root / "masks")
    images, masks = layout
    if layout_has_videos(images):
        return _pair_videos(images, masks)
    return pair_folders(images, masks)


def _homes(root: Path) -> Iterator[Path]:
    """A folder, one of the same name packed into it, and the folders of their formats."""
    inside = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    inner = inside.get(root.resolve().name.lower())
    for home in (root, inner):
        if home is not None:
            yield home
            formats = {path.name.lower(): path for path in home.iterdir() if path.is_dir()}
            yield from (formats[name.lower()] for name in FORMAT_FOLDERS if name.lower() in formats)


def layouts(root: Path, names: Sequence[tuple[str, str]] = ()) -> Iterator[tuple[Path, Path]]:
    """Yield the folders of images and of masks in a folder, with case-insensitive names.

    Args:
        root: An existing folder.
        names: Names of the two folders, in the order in which they are tried; `LAYOUTS` if empty.
    """
    inside = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    for images, masks in names or LAYOUTS:
        if images.lower() in inside and masks.lower() in inside:
            yield inside[images.lower()], inside[masks.lower()]


def layout_has_videos(images: Path) -> bool:
    """Whether a folder of images has only folders of frames, and no frames itself."""
    entries = [path for path in images.iterdir() if not path.name.startswith(".")]
    return any(path.is_dir() for path in entries) and not any(
        path.suffix.lower() in SUFFIXES for path in entries
    )


def _pair_videos(images: Path, masks: Path) -> list[Pair]:
    videos = {path.name: path for path in images.iterdir() if path.is_dir() and path.name[0] != "."}
    mask_videos = {path.name for path in masks.iterdir() if path.is_dir() and path.name[0] != "."}
    if videos.keys() != mask_videos:
        alone = sorted(videos.keys() ^ mask_videos, key=_natural)
        raise DataError(
            f"{images} and {masks} do not hold the same videos",
            expected="a folder of frames and a folder of masks for each video",
            got=f"{len(alone)} of them in one alone: {', '.join(alone[:5])}",
            hint="move away the videos that have no masks, and the masks that have no video",
        )
    return [
        pair._replace(name=f"{name}/{pair.name}", video=name)
        for name in sorted(videos, key=_natural)
        for pair in pair_folders(videos[name], masks / name)
    ]


def pair_folders(images: Path, masks: Path) -> list[Pair]:
    """Pair the files of two folders by stem, in natural order.

    Names are compared in Unicode's composed form. What stands before or behind the image's name in
    the names of all masks is no part of them: `p1`, `1_mask`, `1_segmentation`, `1.jpg.png`; nor
    are words such as in `1_image` and `1_mask`.

    Raises:
        DataError: A folder is missing or empty, an image or a mask has no partner, two files share
            a name.
    """
    left, right = _by_stem(images), _by_stem(masks)
    if not left.keys() & right.keys():
        right = match_names(left, right)
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
                hint="give each image a mask of the same name (all black where there is no polyp), "
                f"or move the {kind} away",
            )
    return [Pair(left[stem], right[stem], stem) for stem in sorted(left, key=_natural)]


def find_images(root: Path) -> list[Path]:
    """Find the images of `root/images`, or of `root` without such a folder, in natural order.

    Raises:
        DataError: The folder is missing or empty, or two files share a stem.
    """
    where = root / "images" if (root / "images").is_dir() else root
    if not where.is_dir():
        raise DataError(f"{where} is not a folder", expected="a folder of pictures")
    images = _by_stem(where)
    return [images[stem] for stem in sorted(images, key=_natural)]


def dataset_names(roots: Sequence[Path]) -> list[str]:
    """Return the names of data folders, with the parent's name before it if two are the same.

    Raises:
        UsageError: A folder is given twice.
    """
    resolved = [root.resolve() for root in roots]
    for index, root in enumerate(resolved):
        if root in resolved[:index]:
            raise UsageError(f"{roots[index]} was given twice", expected="each data folder once")
    short = [root.name for root in resolved]
    return [
        f"{root.parent.name}-{root.name}" if short.count(root.name) > 1 else root.name
        for root in resolved
    ]


def read_pair(image: Path, mask: Path) -> tuple[ImageU8, MaskBool]:
    """Read image (H, W, 3) uint8 RGB and mask (H, W) bool of one pair.

    An image with an EXIF orientation is read as stored if its mask has the stored orientation.

    Raises:
        DataError: A file cannot be read, the mask is not a mask, the sizes differ, or an EXIF
            orientation makes the orientation of the mask ambiguous.
    """
    data, mask_data = read_bytes(image), read_bytes(mask)
    inside = decode_mask(mask, mask_data)
    turned, mask_turned = orientation(data), orientation(mask_data)
    if turned != mask_turned and mask_turned != 1:
        raise DataError(
            f"{mask} has EXIF orientation {mask_turned} and its image {image} has {turned}",
            expected="the same orientation, or none",
            hint="save both without an EXIF orientation",
        )
    pixels = decode_rgb(image, data, as_stored=turned == mask_turned)
    if turned != mask_turned:
        stored = decode_rgb(image, data, as_stored=True)
        if stored.shape[:2] == inside.shape == pixels.shape[:2]:
            raise DataError(
                f"{image} has EXIF orientation {turned} and its mask {mask} has none",
                expected="one orientation for both: the mask fits the picture turned and as stored",
                got=f"{inside.shape[1]}x{inside.shape[0]} pixels either way",
                hint="save the image without its EXIF orientation, as its mask was drawn",
            )
        if stored.shape[:2] == inside.shape:
            pixels = stored
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
        there = (
            sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        )
        parts = [part for part in there if (root / part / folder).is_dir()]
        raise DataError(
            f"{where} is missing",
            expected=f"{root} with the folders "
            + ", or ".join(f"{images}/ and {masks}/" for images, masks in LAYOUTS),
            got=", ".join(f"{name}/" for name in there[:8]) or "no folder in it",
            hint=f"give one part of it: {root / parts[-1]}" if parts else "",
        )
    by_stem: dict[str, Path] = {}
    for path in sorted(where.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        stem = composed(path.stem)
        if stem in by_stem:
            raise DataError(
                f"{by_stem[stem]} and {path} share a name",
                expected="one file per name",
                hint="rename or remove one",
            )
        by_stem[stem] = path
    if not by_stem:
        raise DataError(
            f"{where} holds no images",
            expected="files ending in " + ", ".join(sorted(SUFFIXES)),
        )
    return by_stem


def composed(name: str) -> str:
    """Normalize a name to Unicode NFC: some systems store accents as separate characters."""
    return unicodedata.normalize("NFC", name)


def _natural(stem: str) -> tuple[list[tuple[int, str]], str]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", stem)
    ], stem
