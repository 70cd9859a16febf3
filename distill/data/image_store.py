"""Data of a run: samples and splits (`distill.data.splits`), with images decoded and resized once.

The store is memory-mapped, keyed by content, and may be larger than memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import msgspec
import numpy as np

from distill.data.digests import data_digest
from distill.data.splits import Sample, Splits, load_negatives, load_splits
from edge.datasets.pairs import read_image, read_pair
from edge.errors import DataError
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input
from edge.util.files import PRIVATE_FOLDER, atomic_dir, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.frame import FieldOfView, ImageU8, MaskBool

    Progress = Callable[[int, int], None]
    """Called with how many are done and how many there are."""

Scalar = TypeVar("Scalar", bound=np.generic)

__all__ = [
    "ImageStore",
    "Sample",
    "Splits",
    "create_rows",
    "decode_images",
    "load_negatives",
    "load_splits",
    "read_part",
    "require_space",
]

RULES = "images stretch-antialiased, masks area, 5"
"""Changes whenever the same file would give other pixels, so that an older store is not read."""
_CHUNK = 64


class ImageStore(msgspec.Struct, frozen=True):
    """The samples of one split, ready to train on.

    Attributes:
        images: (N, h, w, 3) uint8 RGB, read-only memory map.
        masks: (N, h, w) uint8, share of a pixel that the polyp covers in 1/255, read-only memory
            map.
        key: Hash of all contents, the size and the rules.
        size: h, w.
    """

    images: ImageU8
    masks: ImageU8
    key: str
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.images)


def decode_images(
    samples: Sequence[Sample],
    size: tuple[int, int],
    cache_dir: Path,
    progress: Progress | None = None,
    *,
    rule: FieldOfView = "full-frame",
) -> ImageStore:
    """Decode and resize all samples, or open the store of an earlier call.

    Images go through the device's own `edge.imaging.preprocess.to_input`. Masks are resized by
    area, so that a boundary pixel holds the share that the polyp covers. The arrays appear under
    their final name only when they are complete.

    Args:
        samples: In the order of the rows.
        size: Height and width.
        cache_dir: Folder of the stores.
        progress: Called after each chunk.
        rule: Part of each image that is kept, as in `edge.imaging.crop`.

    Raises:
        DataError: A file is unreadable, a mask does not fit its image or is not a mask, or the disk
            is too small.
    """
    height, width = size
    key_text = f"{RULES} {rule} {height}x{width} {data_digest(samples)}"
    key = hashlib.sha256(key_text.encode()).hexdigest()
    folder = cache_dir / f"images-{key[:20]}"
    shapes = ((len(samples), height, width, 3), (len(samples), height, width))
    store = _open(folder, shapes, key, size)
    if store is not None:
        if progress is not None:
            progress(len(samples), len(samples))
        return store
    cache_dir.mkdir(parents=True, exist_ok=True)
    # If several trainings start together, one decodes; the others wait and open its store.
    with locked(cache_dir / f".{folder.name}.lock"):
        store = _open(folder, shapes, key, size)
        if store is None:
            # Nobody else writes this store, so these are of trainings that were killed.
            for left in cache_dir.glob(f".{folder.name}.????????"):
                shutil.rmtree(left, ignore_errors=True)
            _write(folder, samples, size, rule, progress)
            store = _open(folder, shapes, key, size)
    if store is None:
        raise DataError(f"{folder} was not written whole", hint=f"remove {folder} and try again")
    return store


def _write(
    folder: Path,
    samples: Sequence[Sample],
    size: tuple[int, int],
    rule: FieldOfView,
    progress: Progress | None,
) -> None:
    height, width = size
    shapes = ((len(samples), height, width, 3), (len(samples), height, width))
    require_space(folder.parent, sum(int(np.prod(shape)) for shape in shapes), "the resized images")
    with atomic_dir(folder, force=True, mode=PRIVATE_FOLDER) as temporary:
        images = create_rows(temporary / "images.npy", shapes[0], np.uint8)
        masks = create_rows(temporary / "masks.npy", shapes[1], np.uint8)
        with ThreadPoolExecutor() as pool:
            for begin in range(0, len(samples), _CHUNK):
                chunk = samples[begin : begin + _CHUNK]
                resized = pool.map(lambda sample: _resized(sample, size, rule), chunk)
                for row, (image, mask) in enumerate(resized, begin):
                    images[row], masks[row] = image, mask
                if progress is not None:
                    progress(begin + len(chunk), len(samples))
        images.flush()
        masks.flush()
        del images, masks


def require_space(where: Path, needed: int, what: str) -> None:
    """Raise if a disk cannot hold what is about to be written.

    Args:
        where: Folder to write to; created if missing.
        needed: Number of bytes.
        what: Name of the content, for the error.

    Raises:
        DataError: Less than `needed` bytes and a reserve of 64 MB are free.
    """
    where.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(where).free
    if free < needed + (64 << 20):
        raise DataError(
            f"not enough room in {where} for {what}",
            expected=f"{needed / 1e9:.2f} GB and a reserve of 0.07 GB",
            got=f"{free / 1e9:.2f} GB free",
            hint="free some, or give a cache folder on another disk",
        )


def create_rows(
    path: Path, shape: tuple[int, ...], dtype: type[Scalar]
) -> np.memmap[Any, np.dtype[Scalar]]:
    """A new memory-mapped `.npy` file whose disk space is reserved.

    Without the reservation a full disk would kill the process during a write to the map.

    Raises:
        DataError: The disk is too small after all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.lib.format.open_memmap(path, "w+", dtype, shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise DataError(f"no room for {path}", got=error.strerror or str(error)) from error
    return rows


def read_part(sample: Sample, rule: FieldOfView) -> tuple[ImageU8, MaskBool]:
    """Read a frame and its mask, cut to the part that the student sees.

    Args:
        sample: The frame; without a mask file its mask is empty.
        rule: As in `edge.imaging.crop`.

    Returns:
        (H, W, 3) uint8 RGB and (H, W) bool at the file's own resolution.

    Raises:
        DataError: A file is unreadable, or the mask does not fit its image or is not a mask.
    """
    if sample.mask:
        image, inside = read_pair(Path(sample.image), Path(sample.mask))
    else:
        image = read_image(Path(sample.image))
        inside = np.zeros(image.shape[:2], dtype=bool)
    part = seen_part(image, rule)
    return cut(image, part), cut(inside, part)


def _resized(sample: Sample, size: tuple[int, int], rule: FieldOfView) -> tuple[ImageU8, ImageU8]:
    image, inside = read_part(sample, rule)
    shrinks = inside.shape[0] >= size[0] and inside.shape[1] >= size[1]
    mask: ImageU8 = cv2.resize(
        inside.astype(np.uint8) * 255,
        (size[1], size[0]),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    return to_input(image, size, bgr=False), mask


def _open(
    folder: Path, shapes: tuple[tuple[int, ...], tuple[int, ...]], key: str, size: tuple[int, int]
) -> ImageStore | None:
    """The store in `folder`; None if it is missing or its arrays have other shapes."""
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        masks = np.load(folder / "masks.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if images.shape != shapes[0] or masks.shape != shapes[1] or images.dtype != np.uint8:
        return None
    return ImageStore(images, masks, key, size)
