"""Reads and writes stills: a folder with `still.json` and lossless images, for its owner only."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import msgspec
import numpy as np

from edge.errors import DataError
from edge.imaging.view import View, black_outside
from edge.stills.record import SCHEMA, StillRecord
from edge.stills.still import Still
from edge.util.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    atomic_dir,
    atomic_write,
    sha256,
    sync_folder,
    write_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8

RECORD, IMAGE, VIEW, MASK, SCORES = "still.json", "frame.png", "view.png", "mask.png", "scores.png"


_EFFORT = 1
"""Compression level of PNG, 0 to 9."""


class _Schema(msgspec.Struct):
    schema: int


def write_still(still: Still, path: Path) -> None:
    """Write a still as a folder with private permissions, which appears only when it is complete.

    Args:
        still: The still.
        path: Folder to create; its parent must exist.

    Raises:
        UsageError: `path` exists.
        OSError: The still cannot be written; nothing is left of it.
    """
    pictures = {IMAGE: still.image, VIEW: still.view.mask, MASK: still.mask, SCORES: still.scores}
    encoded = {name: _png(picture) for name, picture in pictures.items() if picture is not None}
    record = msgspec.structs.replace(
        still.record, files={name: sha256(data) for name, data in encoded.items()}
    )
    with atomic_dir(path, mode=PRIVATE_FOLDER) as folder:
        for name, data in encoded.items():
            atomic_write(folder / name, data, mode=PRIVATE_FILE)
        write_json(folder / RECORD, record, mode=PRIVATE_FILE)
        # Before its name: a power cut must not leave a still with a part of its files.
        sync_folder(folder)
    sync_folder(path.parent)


def read_still(path: Path) -> Still:
    """Read a still; pixels outside the field of view are made black again.

    Args:
        path: Folder of the still.

    Raises:
        DataError: The folder is not a still, has a different schema, or was changed.
    """
    record = read_record(path)
    size = record.size
    image = _picture(path, record, IMAGE, size, cv2.IMREAD_COLOR)
    cells = _picture(path, record, VIEW, None, cv2.IMREAD_GRAYSCALE)
    view = View(record.field_of_view, cells, size)
    mask = scores = None
    if record.no_mask is None:
        mask = black_outside(_picture(path, record, MASK, size, cv2.IMREAD_GRAYSCALE), view)
        scores = _picture(path, record, SCORES, None, cv2.IMREAD_GRAYSCALE)
    return Still(
        record=record, image=black_outside(image, view), view=view, mask=mask, scores=scores
    )


def read_scores(path: Path, record: StillRecord) -> ImageU8 | None:
    """Read the scores of a still alone, without those outside its field of view.

    Args:
        path: Folder of the still.
        record: Its record.

    Returns:
        (h, w) uint8 in 1/256, 0 outside the view; None if nobody judged the frame.

    Raises:
        DataError: The folder was changed.
    """
    if record.no_mask is not None:
        return None
    scores = _picture(path, record, SCORES, None, cv2.IMREAD_GRAYSCALE)
    cells = _picture(path, record, VIEW, None, cv2.IMREAD_GRAYSCALE)
    height, width = record.size
    inside = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    if record.part is not None:
        x, y, w, h = record.part
        inside = inside[y : y + h, x : x + w]
    inside = cv2.resize(inside, scores.shape[::-1], interpolation=cv2.INTER_AREA)
    return cast("ImageU8", cv2.bitwise_and(scores, scores, mask=inside))


def read_file(path: Path, record: StillRecord, name: str) -> bytes:
    """Read the bytes of a picture of a still, checked against its record.

    Args:
        path: Folder of the still.
        record: Its record.
        name: `IMAGE`, `VIEW`, `MASK` or `SCORES`.

    Raises:
        DataError: The file cannot be read, or was changed.
    """
    file = path / name
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    if sha256(data) != record.files.get(name):
        raise DataError(
            f"{file} was changed",
            expected=f"SHA-256 {record.files.get(name)}",
            got=f"SHA-256 {sha256(data)}",
        )
    return data


def _png(picture: ImageU8) -> bytes:
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, _EFFORT])
    assert done, f"no PNG of {picture.shape}"
    return data.tobytes()


def read_record(path: Path) -> StillRecord:
    """Read `still.json` alone.

    Raises:
        DataError: The folder is not a still, or has a different schema.
    """
    try:
        encoded = (path / RECORD).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} is not a still",
            expected=f"a folder with {RECORD}",
            got=error.strerror or str(error),
            hint="choose the folder of one still",
            code="not-a-still",
        ) from error
    try:
        schema = msgspec.json.decode(encoded, type=_Schema).schema
        if schema != SCHEMA:
            raise DataError(
                f"{path}: {RECORD} has a different schema", expected=f"{SCHEMA}", got=f"{schema}"
            )
        record = msgspec.json.decode(encoded, type=StillRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: {RECORD} cannot be read", got=str(error)) from error
    if record.no_mask is None and record.bundle is None:
        raise DataError(
            f"{path}: {RECORD} does not say what its mask comes from", expected="a bundle"
        )
    return record


def _picture(
    path: Path, record: StillRecord, name: str, size: tuple[int, int] | None, how: int
) -> ImageU8:
    file = path / name
    picture = cv2.imdecode(np.frombuffer(read_file(path, record, name), np.uint8), how)
    if picture is None or (size is not None and picture.shape[:2] != size):
        raise DataError(
            f"{file} is not an image of this still",
            expected="a picture" if size is None else f"{size[1]}x{size[0]} pixels",
            got="no picture"
            if picture is None
            else f"{picture.shape[1]}x{picture.shape[0]} pixels",
        )
    return cast("ImageU8", picture)
