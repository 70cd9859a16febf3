"""Read image files: complete, or refused with their name; and their EXIF orientation."""

from __future__ import annotations

import re
import stat
import struct
import zlib
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
_ORIENTATION_TAG, _PHOTOMETRIC_TAG = 0x0112, 0x0106
_PHOTOMETRIC_PALETTE = 3
_TIFF_MARKS = (b"II*\0", b"MM\0*")


def read_bytes(path: Path) -> bytes:
    """Read the content of an image file.

    Raises:
        DataError: The path is not a file, or the file cannot be read or is truncated.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # Opening a pipe would wait for its writer.
            raise DataError(
                f"{path} cannot be read", expected="a file", got="a folder, pipe or device"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    # Decoders silently fill the missing rest of a truncated file with gray.
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
    """Decode the pixels of an image file.

    Args:
        path: Path for the error message.
        data: Content of the file.
        mode: Flags of `cv2.imdecode`.

    Raises:
        DataError: The content is not in a known image format.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    if pixels is None:
        raise DataError(
            f"{path} is not a readable image",
            got=f"{len(data)} bytes that no image format fits",
            hint="replace or remove the file and its partner",
        )
    image: NDArray[Any] = pixels
    return image


def read_image(path: Path) -> ImageU8:
    """Read an image as (H, W, 3) uint8 RGB, rotated by its EXIF orientation.

    Raises:
        DataError: The file is missing, empty, truncated or not an image.
    """
    return decode_rgb(path, read_bytes(path))


def decode_rgb(path: Path, data: bytes, *, as_stored: bool = False) -> ImageU8:
    """Decode an image file as (H, W, 3) uint8 RGB.

    Args:
        path: Path for the error message.
        data: Content of the file.
        as_stored: Ignore the EXIF orientation.

    Raises:
        DataError: The content is not in a known image format.
    """
    mode = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    image: ImageU8 = cv2.cvtColor(decode(path, data, mode), cv2.COLOR_BGR2RGB)
    return image


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an image file, 1 to 8; 1 if it has none.

    Args:
        data: Content of a JPEG, PNG, WebP or TIFF file.
    """
    starts = [0] if data[:4] in _TIFF_MARKS else []
    for mark in _EXIF_MARKS:
        place = data.find(mark)
        if place >= 0:
            # A WebP chunk has its size between name and TIFF header, and may repeat "Exif".
            starts += [place + len(mark), place + len(mark) + 4]
    for start in starts:
        value = _tiff_orientation(data[start : start + 65536])
        if value:
            return value
    return 1


def _tiff_orientation(data: bytes) -> int:
    """Return the orientation in the first directory of a TIFF structure; 0 if there is none."""
    value, _ = _tiff_value(data, _ORIENTATION_TAG)
    return value if 1 <= value <= 8 else 0


def _tiff_value(data: bytes, tag_number: int) -> tuple[int, int]:
    """Return a 16-bit value in the first directory of a TIFF structure, and where it is stored.

    Both are 0 if there is none.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 0, 0
    try:
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        for entry in range(count):
            at = offset + 2 + 12 * entry
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, at)
            if tag == tag_number:
                return int(value), at + 8
    except struct.error:
        pass
    return 0, 0


def has_pages(data: bytes) -> bool:
    """Return whether a file is a TIFF with several pages; only the first of them is decoded.

    Args:
        data: Content of the file.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return False
    try:
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        (following,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
    except struct.error:
        return False
    return bool(following)


def palette_indices(path: Path, data: bytes) -> NDArray[Any] | None:
    """The palette entries (H, W) of a picture, by decoding it as a gray one of the same depth.

    The entries of a BMP are scaled to 0 to 255.

    Args:
        path: Names the file in the error.
        data: Its content.

    Returns:
        None for a file that is no PNG, TIFF or BMP with a palette.

    Raises:
        DataError: The pixels cannot be decoded.
    """
    if data[:2] == b"BM" or data[:4] in _TIFF_MARKS:
        gray = _with_gray_palette(data)
        return None if gray is None else decode(path, gray, cv2.IMREAD_GRAYSCALE)
    if data[:4] != b"\x89PNG" or data[25] != 3 or b"PLTE" not in data:
        return None
    chunks, place = [data[:8]], 8
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            body = body[:9] + b"\0" + body[10:]
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            check = zlib.crc32(kind + body).to_bytes(4, "big")
            chunks.append(len(body).to_bytes(4, "big") + kind + body + check)
        place += 12 + size
    return decode(path, b"".join(chunks), cv2.IMREAD_UNCHANGED)


def _with_gray_palette(data: bytes) -> bytes | None:
    """Return a BMP or TIFF whose palette is gray, in the order of its entries; None without one."""
    if data[:4] in _TIFF_MARKS:
        value, at = _tiff_value(data, _PHOTOMETRIC_TAG)
        if value != _PHOTOMETRIC_PALETTE:
            return None
        black_is_zero = (1).to_bytes(2, "little" if data[:2] == b"II" else "big")
        return data[:at] + black_is_zero + data[at + 2 :]
    if len(data) < 54:
        return None
    begin = 14 + int.from_bytes(data[14:18], "little")
    depth = int.from_bytes(data[28:30], "little")
    if not 1 <= depth <= 8:
        return None
    count = int.from_bytes(data[46:50], "little") or 1 << depth
    ramp = b"".join(
        bytes([255 * index // (count - 1)] * 3) + b"\0" for index in range(count) if count > 1
    )
    return data[:begin] + ramp + data[begin + len(ramp) :]
