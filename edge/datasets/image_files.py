"""Read picture files: whole or refused by name, and how their EXIF data turn them."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_EXIF_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF")
_ORIENTATION_TAG = 0x0112


def read_bytes(path: Path) -> bytes:
    """The content of a picture file.

    Raises:
        DataError: The file cannot be read, or it is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    # Decoders fill the missing rest of a cut file with gray and say nothing.
    if (data.startswith(b"\xff\xd8\xff") and not _jpeg_ends(data)) or (
        data.startswith(b"\x89PNG") and not _png_ends(data)
    ):
        raise DataError(
            f"{path} is cut short", got=f"{len(data)} bytes", hint="copy the file again"
        )
    return data


def _jpeg_ends(data: bytes) -> bool:
    """Return whether a JPEG image has its end marker; phones append clips and depth maps to it."""
    at = 2
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match[1][0], match.end()
        if marker == 0xD9:
            return True
        # Neither restart markers nor those between scans have a length.
        if marker != 0x01 and not 0xD0 <= marker <= 0xD8:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return False


def _png_ends(data: bytes) -> bool:
    """Return whether a PNG image has its last chunk, complete."""
    at = 8
    while at + 12 <= len(data):
        kind, at = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at <= len(data)
    return False


def decode(path: Path, data: bytes, mode: int) -> NDArray[Any]:
    """The pixels of a picture file.

    Args:
        path: Names the file in the error.
        data: Its content.
        mode: Flags of `cv2.imdecode`.

    Raises:
        DataError: No image format fits the content.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    if pixels is None:
        raise DataError(
            f"{path} is not a readable image",
            got=f"{len(data)} bytes that no image format fits",
            hint="replace or remove the file and its partner",
        )
    found: NDArray[Any] = pixels
    return found


def read_image(path: Path) -> ImageU8:
    """The picture as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Raises:
        DataError: The file is missing, empty, cut short or no image.
    """
    return decode_rgb(path, read_bytes(path))


def decode_rgb(path: Path, data: bytes, *, as_stored: bool = False) -> ImageU8:
    """The content of a picture file as (H, W, 3) uint8 RGB.

    Args:
        path: Names the file in the error.
        data: Its content.
        as_stored: Ignore an EXIF orientation.

    Raises:
        DataError: No image format fits the content.
    """
    mode = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    image: ImageU8 = cv2.cvtColor(decode(path, data, mode), cv2.COLOR_BGR2RGB)
    return image


def orientation(data: bytes) -> int:
    """The EXIF orientation of a picture file, 1 to 8; 1 where it has none.

    Args:
        data: Content of a JPEG, PNG, WebP or TIFF file.
    """
    starts = [0] if data[:4] in (b"II*\0", b"MM\0*") else []
    for mark in _EXIF_MARKS:
        place = data.find(mark)
        if place >= 0:
            # A WebP chunk has its size between the name and the TIFF header, and may repeat "Exif".
            starts += [place + len(mark), place + len(mark) + 4]
    for start in starts:
        found = _tiff_orientation(data[start : start + 65536])
        if found:
            return found
    return 1


def _tiff_orientation(data: bytes) -> int:
    """The orientation in the first directory of a TIFF structure; 0 where there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 0
    try:
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, offset + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG and 1 <= value <= 8:
                return int(value)
    except struct.error:
        return 0
    return 0
