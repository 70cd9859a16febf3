"""Tells whether pictures of H.264 are interlaced, from parameter sets, SEI and slice headers.

Sections are those of ITU-T H.264: 7.3.2.1 (sequence parameter set), E.1 (its usability
information), 7.3.2.2 (picture parameter set), D.1 (SEI) and 7.3.3 (slice header).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge.sources.bits import Bits

_SLICE, _IDR, _SEI, _SPS, _PPS = 1, 5, 6, 7, 8
_PICTURE_TIMING = 1
_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_START = re.compile(rb"\x00\x00\x01")
_TIMESTAMPS = (1, 1, 1, 2, 2, 3, 3, 2, 3)
"""`pic_struct` to the number of clock time stamps that may follow."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence parameter set says about fields.

    Attributes:
        frames_only: Whether no picture is coded as fields.
        adaptive: Whether macroblocks of a frame may be coded as fields (MBAFF).
        planes: Whether the three colors are coded separately.
        number_bits: Bits of `frame_num` in a slice header.
        delay_bits: Bits of the two delays in a picture timing message, 0 if there are none.
        structured: Whether such a message tells the structure of the picture.
    """

    frames_only: bool
    adaptive: bool
    planes: bool
    number_bits: int
    delay_bits: int = 0
    structured: bool = False


class H264Fields:
    """Looks at H.264 packets in coded order.

    Args:
        header: The decoder configuration of an MP4 or Matroska file, or parameter sets with start
            codes; empty if the packets contain them.
    """

    def __init__(self, header: bytes = b"") -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, int] = {}
        if header[:1] == b"\x01":
            for unit in _configured(header):
                self._learn(unit)
        else:
            self.interlaced(header)

    def interlaced(self, packet: bytes) -> bool:
        """Return whether the picture of a packet is interlaced.

        Raises:
            ValueError: A header ends early.
        """
        timing: bytes = b""
        for unit in _units(packet):
            kind = unit[0] & 0x1F
            if kind in (_SPS, _PPS):
                self._learn(unit)
            elif kind == _SEI:
                timing = _message(_unescaped(unit[1:]), _PICTURE_TIMING) or timing
            elif kind in (_SLICE, _IDR, 2):
                return self._picture(unit, timing)
        return False

    def _learn(self, unit: bytes) -> None:
        kind, body = unit[0] & 0x1F, _unescaped(unit[1:])
        if kind == _SPS:
            number, sequence = _sequence(body)
            self._sequences[number] = sequence
        elif kind == _PPS:
            bits = Bits(body)
            picture = bits.golomb()
            self._pictures[picture] = bits.golomb()

    def _picture(self, unit: bytes, timing: bytes) -> bool:
        bits = Bits(_unescaped(unit[1:64]))
        bits.golomb()
        bits.golomb()
        sequence = self._sequences.get(self._pictures.get(bits.golomb(), -1))
        if sequence is None:
            return False
        field_count = _counted_fields(timing, sequence) if sequence.structured and timing else None
        if sequence.frames_only:
            return bool(field_count)
        if sequence.planes:
            bits.read(2)
        bits.read(sequence.number_bits)
        fields = bool(bits.read(1))
        if field_count is not None:
            return field_count or fields
        return fields or sequence.adaptive


def _counted_fields(timing: bytes, sequence: _Sequence) -> bool | None:
    """Return what a picture timing message says, None if it leaves it open."""
    bits = Bits(timing)
    bits.read(sequence.delay_bits)
    structure = bits.read(4)
    if structure >= len(_TIMESTAMPS):
        return None
    if bits.read(1):
        scan = bits.read(2)
        if scan < 2:
            return scan == 1
    # One or two fields; a frame of which a field is shown twice (5, 6) is film.
    return structure in (1, 2, 3, 4)


def _configured(header: bytes) -> list[bytes]:
    """Return the parameter sets of a decoder configuration record (ISO/IEC 14496-15)."""
    units, at = [], 6
    for count in (header[5] & 0x1F if len(header) > 5 else 0, None):
        if count is None:
            count, at = (header[at] if at < len(header) else 0), at + 1
        for _ in range(count):
            length = int.from_bytes(header[at : at + 2], "big")
            units.append(header[at + 2 : at + 2 + length])
            at += 2 + length
    return [unit for unit in units if unit]


def _units(packet: bytes) -> list[bytes]:
    starts = [match.end() for match in _START.finditer(packet)]
    ends = [*(start - 3 for start in starts[1:]), len(packet)]
    return [packet[start:end] for start, end in zip(starts, ends, strict=False) if end > start]


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\x00\x00\x03", b"\x00\x00")


def _message(data: bytes, payload_type: int) -> bytes:
    """Return the payload of a kind of SEI message, empty if there is none."""
    at = 0
    while at + 2 <= len(data):
        sizes = []
        for _ in range(2):
            value = 0
            while at < len(data) and data[at] == 0xFF:
                value, at = value + 255, at + 1
            value += data[at] if at < len(data) else 0
            at += 1
            sizes.append(value)
        if sizes[0] == payload_type:
            return data[at : at + sizes[1]]
        at += sizes[1]
    return b""


def _sequence(body: bytes) -> tuple[int, _Sequence]:
    bits = Bits(body)
    profile = bits.read(8)
    bits.read(16)
    number, planes = bits.golomb(), False
    if profile in _HIGH:
        chroma = bits.golomb()
        planes = chroma == 3 and bool(bits.read(1))
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling(bits, 16 if index < 6 else 64)
    number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.signed_golomb()
        bits.signed_golomb()
        for _ in range(bits.golomb()):
            bits.signed_golomb()
    bits.golomb()
    bits.read(1)
    bits.golomb()
    bits.golomb()
    frames_only = bool(bits.read(1))
    adaptive = not frames_only and bool(bits.read(1))
    bits.read(1)
    if bits.read(1):
        for _ in range(4):
            bits.golomb()
    delay_bits, structured = _usability(bits) if bits.read(1) else (0, False)
    return number, _Sequence(frames_only, adaptive, planes, number_bits, delay_bits, structured)


def _skip_scaling(bits: Bits, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


def _usability(bits: Bits) -> tuple[int, bool]:
    """Return the bits of the delays in a picture timing message, and whether it has a structure."""
    if bits.read(1) and bits.read(8) == 255:
        bits.read(32)
    if bits.read(1):
        bits.read(1)
    if bits.read(1):
        bits.read(4)
        if bits.read(1):
            bits.read(24)
    if bits.read(1):
        bits.golomb()
        bits.golomb()
    if bits.read(1):
        bits.read(32 + 32 + 1)
    delays = 0
    decoders = 0
    for _ in range(2):
        if bits.read(1):
            decoders += 1
            delays = _decoder_delays(bits)
    if decoders:
        bits.read(1)
    return delays, bool(bits.read(1))


def _decoder_delays(bits: Bits) -> int:
    count = bits.golomb() + 1
    bits.read(8)
    for _ in range(count):
        bits.golomb()
        bits.golomb()
        bits.read(1)
    bits.read(5)
    removal, output = bits.read(5) + 1, bits.read(5) + 1
    bits.read(5)
    return removal + output
