"""Zip archives whose every field is free, valid or not."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Entry:
    """One entry of a zip, every field free."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    attributes: int = 0o100644 << 16
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    offset: int | None = None

    def packed_data(self) -> bytes:
        if self.method != 8:
            return self.data
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(self.data) + deflate.flush()


def zip_of(entries: Sequence[Entry], *, count: int | None = None, comment: bytes = b"") -> bytes:
    """The zip that these entries make, valid or not."""
    body, central = b"", b""
    for entry in entries:
        data = entry.packed_data()
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        packed = len(data) if entry.packed is None else entry.packed
        size = len(entry.data) if entry.size is None else entry.size
        offset = len(body) if entry.offset is None else entry.offset
        common = struct.pack(
            "<HHHHHLLLHH",
            20,
            entry.flags,
            entry.method,
            0,
            33,
            crc,
            packed,
            size,
            len(entry.name),
            0,
        )
        body += b"PK\3\4" + common + entry.name + data
        central += b"PK\1\2" + struct.pack("<H", 0x031E) + common
        central += struct.pack("<HHHLL", 0, 0, 0, entry.attributes, offset) + entry.name
    count = len(entries) if count is None else count
    end = struct.pack(
        "<HHHHLLH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central), len(body), len(comment)
    )
    return body + central + b"PK\5\6" + end + comment
