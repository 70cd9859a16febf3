"""Frames on a byte stream: 0x00 | COBS(payload | CRC-32, little endian) | 0x00.

The leading delimiter ends any noise before a frame, so that noise never costs a valid frame.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from cobs import cobs

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD_MAX = 64
_CRC_SIZE = 4
_STUFFED_MAX = PAYLOAD_MAX + _CRC_SIZE + 1


def frame(payload: bytes) -> bytes:
    """Return the frame of a payload.

    Args:
        payload: 1 to `PAYLOAD_MAX` bytes.

    Raises:
        ValueError: The payload has a different length.
    """
    if not 1 <= len(payload) <= PAYLOAD_MAX:
        raise ValueError(f"a payload has 1 to {PAYLOAD_MAX} bytes, not {len(payload)}")
    stuffed: bytes = cobs.encode(payload + zlib.crc32(payload).to_bytes(_CRC_SIZE, "little"))
    return b"\0" + stuffed + b"\0"


class Deframer:
    """Finds the frames in a byte stream.

    Attributes:
        drops: Number of invalid frames: too long, invalid COBS, wrong CRC.
    """

    def __init__(self) -> None:
        self.drops = 0
        self._bytes = bytearray()
        self._overrun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads that these bytes complete."""
        pieces = data.split(b"\0")
        for i, piece in enumerate(pieces):
            room = _STUFFED_MAX - len(self._bytes)
            self._bytes += piece[:room]
            self._overrun = self._overrun or len(piece) > room
            if i < len(pieces) - 1 and (payload := self._finish()):
                yield payload

    def _finish(self) -> bytes | None:
        stuffed, overrun = bytes(self._bytes), self._overrun
        self._bytes.clear()
        self._overrun = False
        if not stuffed:
            return None
        try:
            decoded: bytes = b"" if overrun else cobs.decode(stuffed)
        except cobs.DecodeError:
            decoded = b""
        payload, crc = decoded[:-_CRC_SIZE], decoded[-_CRC_SIZE:]
        if payload and zlib.crc32(payload) == int.from_bytes(crc, "little"):
            return payload
        self.drops += 1
        return None
