"""Tell whether the container of a clip declares its pictures as interlaced.

Codecs without a header of their own for it, such as FFV1 or uncompressed video, rely on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from edge.util.container import SEGMENT, boxes, container_of, vint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRACKS, _ENTRY, _VIDEO, _FLAG_INTERLACED = 0x1654AE6B, 0xAE, 0xE0, 0x9A
_CLUSTER = 0x1F43B675
_INTERLACED = 1
_SAMPLE_ENTRY_BYTES = 78
"""Fields of a visual sample entry before its boxes (ISO/IEC 14496-12, 12.1.3)."""


def declares_fields(path: Path) -> bool:
    """Return whether a QuickTime or Matroska file declares interlaced video.

    Args:
        path: The clip.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size, kind = container_of(file)
        if kind == "matroska":
            return _matroska(file, size)
        if kind == "mp4":
            return _quicktime(file, 0, size)
    return False


def _quicktime(file: BinaryIO, begin: int, end: int) -> bool:
    """Look for a `fiel` box of two fields in the sample entries of all tracks."""
    for kind, first, last in boxes(file, begin, end):
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            if _quicktime(file, first, last):
                return True
        elif kind == b"stsd":
            for _, entry, entry_end in boxes(file, first + 8, last):
                for name, at, _ in boxes(file, entry + _SAMPLE_ENTRY_BYTES, entry_end):
                    file.seek(at)
                    if name == b"fiel" and file.read(1) == b"\2":
                        return True
    return False


def _matroska(file: BinaryIO, size: int) -> bool:
    for name, begin, end in _elements(file, 0, size):
        if name != SEGMENT:
            continue
        for inner, first, last in _elements(file, begin, min(end, size)):
            if inner == _CLUSTER:
                return False
            if inner == _TRACKS:
                return any(
                    name == _FLAG_INTERLACED and _number(file, at, after) == _INTERLACED
                    for kind, *track in _elements(file, first, last)
                    if kind == _ENTRY
                    for part, *video in _elements(file, *track)
                    if part == _VIDEO
                    for name, at, after in _elements(file, *video)
                )
    return False


def _elements(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield name, first byte and end of the elements between two positions (RFC 8794)."""
    at = begin
    while at + 2 <= end:
        file.seek(at)
        head = file.read(12)
        name, after = vint(head, 0, keep=True)
        length, body = vint(head, after)
        if not name or not body:
            return
        unknown = length == (1 << 7 * (body - after)) - 1
        yield name, at + body, end if unknown else at + body + length
        at = end if unknown else at + body + length


def _number(file: BinaryIO, begin: int, end: int) -> int:
    file.seek(begin)
    return int.from_bytes(file.read(min(8, end - begin)), "big")
