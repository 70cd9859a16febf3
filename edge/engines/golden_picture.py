"""Decode golden pictures, of which everything is checked that decides how much memory they take.

OpenCV allocates the size that a picture's header states, applies its orientation and inflates its
color profile and text. A golden picture has none of these: it is a plain PNG of a known size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import ImageU8

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
"""Chunks that are decoded; others only describe the pixels, or add more of them (APNG)."""

_COLORS = {0: "gray", 2: "RGB"}
"""Color types of PNG -> name."""


PictureKind = Literal["gray", "RGB"]


class PictureError(ValueError):
    """A picture that is not the expected one."""


@runtime_checkable
class PictureDecoder(Protocol):
    """An engine whose process decodes pictures, so that no other process parses them."""

    def decode_png(self, data: bytes, size: tuple[int, int], kind: PictureKind) -> ImageU8:
        """Decode as the function of the same name."""
        ...


def decode_png(data: bytes, size: tuple[int, int], kind: PictureKind) -> ImageU8:
    """Decode an 8-bit PNG.

    Args:
        data: Content of the file.
        size: Expected height and width in pixels.
        kind: Expected colors.

    Returns:
        (H, W) or (H, W, 3) uint8, in RGB.

    Raises:
        PictureError: It is no such picture.
    """
    if not data.startswith(_SIGNATURE):
        raise PictureError("no PNG")
    chunks = list(_chunks(data))
    name, header = chunks[0] if chunks else (b"", b"")
    if name != b"IHDR" or len(header) != 25:
        raise PictureError("a PNG without a header")
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (8, 12))
    depth, colors, *rest = header[16:21]
    description = f"{width}x{height} pixels, {_COLORS.get(colors, 'other colors')}, {depth} bits"
    if (height, width) != size or _COLORS.get(colors) != kind or depth != 8 or any(rest):
        raise PictureError(description)
    plain = _SIGNATURE + b"".join(chunk for name, chunk in chunks if name in _CHUNKS)
    mode = cv2.IMREAD_GRAYSCALE if kind == "gray" else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(plain, np.uint8), mode)
    if picture is None or picture.shape[:2] != size:
        raise PictureError("a PNG that cannot be decoded")
    return cast("ImageU8", picture if kind == "gray" else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and bytes of each complete chunk, up to the end chunk; one header only."""
    at, headers = len(_SIGNATURE), 0
    while at + 12 <= len(data):
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        headers += name == b"IHDR"
        if end > len(data) or headers > 1:
            return
        yield name, data[at:end]
        if name == b"IEND":
            return
        at = end
