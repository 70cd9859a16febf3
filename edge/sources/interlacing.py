"""Tells from the coded packets of a clip whether its pictures are interlaced.

OpenCV hides what its decoder knows about fields, and from version 4.13 on it returns black or
repeated images for interlaced ones. The headers follow ISO/IEC 13818-2 (MPEG-2), ITU-T H.264 and
H.265, ISO/IEC 14496-2 (MPEG-4 part 2), SMPTE RDD 36 (ProRes) and SMPTE ST 2019-1 (DNxHD).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge.sources.bits import Bits
from edge.sources.h264_fields import H264Fields

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES = 8192
"""Bytes of a packet that are looked at: parameter sets and the first slice come early."""

_DV = frozenset({"dvsd", "dvhd", "dvsl", "dv25", "dv50", "dvc ", "dvcp", "dvpp", "dv5p", "dv5n"})
_DV |= frozenset({"dvh1", "dvh2", "dvh3", "dvh5", "dvh6", "dvhp", "dvhq", "cdvc", "cdvh", "cdv5"})
_PRORES = frozenset({"apcn", "apcs", "apco", "apch", "ap4h", "ap4x"})
_DNX = frozenset({"avdn", "avdh"})
_MPEG2 = frozenset({"mpg2", "mp2v", "mpeg", "mpg1", "mp1v", "hdv1", "hdv2", "hdv3", "hdv6", "hdv7"})
_MPEG4 = frozenset({"mp4v", "fmp4", "xvid", "divx", "dx50", "3iv2"})
_H264 = frozenset({"h264", "avc1", "avc3", "x264", "davc"})
_HEVC = frozenset({"hevc", "hvc1", "hev1", "h265"})
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)


class Interlacing:
    """Looks at the packets of one clip in their coded order.

    Args:
        codec: FourCC of the codec, as OpenCV tells it.
        header: The codec's header outside the packets; empty if there is none.
    """

    def __init__(self, codec: str, header: bytes = b"") -> None:
        name = codec.lower()
        self._check: Callable[[bytes], bool]
        if name in _H264:
            self._check = H264Fields(header).interlaced
        elif name in _HEVC:
            self._check = _Hevc(header).interlaced
        elif name in _MPEG2 or re.fullmatch(r"m[x24-7]\w[pn]|mx\d\w|xd[v5-9hef]\w|hdv\w", name):
            self._check = _Mpeg2(header).interlaced
        elif name in _MPEG4:
            self._check = _Mpeg4(header).interlaced
        elif name in _PRORES:
            self._check = _prores
        elif name in _DNX:
            self._check = _dnxhd
        elif name in _DV:
            self._check = _always
        elif name in ("mjpg", "mjpa", "avrn", "dmb1"):
            self._check = _motion_jpeg
        else:
            self._check = _never

    @property
    def knows_codec(self) -> bool:
        """Whether the codec's own headers tell; otherwise only the container may."""
        return self._check is not _never

    def interlaced(self, packet: bytes) -> bool:
        """Return whether the pictures of a packet are coded as fields or marked as interlaced."""
        try:
            return self._check(packet[:HEAD_BYTES])
        except (IndexError, ValueError):
            return False  # a damaged packet tells nothing


class _Mpeg2:
    """MPEG-2: a picture is interlaced unless it or its sequence is marked as progressive.

    Film on DVD whose fields are only repeated in display (soft telecine) is progressive.
    """

    def __init__(self, header: bytes) -> None:
        self._progressive = False
        self._mpeg2 = False
        self.interlaced(header)

    def interlaced(self, data: bytes) -> bool:
        for match in _START_CODE.finditer(data):
            at = match.end()
            if match[1] != b"\xb5" or at + 5 > len(data):
                continue
            kind = data[at] >> 4
            if kind == 1:
                self._progressive, self._mpeg2 = bool(data[at + 1] & 0x08), True
            elif kind == 8 and self._mpeg2 and not self._progressive:
                fields = data[at + 2] & 0x03 != 3
                return fields or not data[at + 4] & 0x80
        return False


class _Mpeg4:
    """MPEG-4 part 2: the layer's header says whether its pictures are interlaced."""

    def __init__(self, header: bytes) -> None:
        self._interlaced = False
        self.interlaced(header)

    def interlaced(self, data: bytes) -> bool:
        for match in _START_CODE.finditer(data):
            if 0x20 <= match[1][0] <= 0x2F:
                self._interlaced = _layer_interlaced(Bits(data, match.end()))
        return self._interlaced


def _layer_interlaced(bits: Bits) -> bool:
    bits.read(1 + 8)
    version = 1
    if bits.read(1):
        version = bits.read(4)
        bits.read(3)
    if bits.read(4) == 15:
        bits.read(16)
    if bits.read(1):
        bits.read(3)
        if bits.read(1):
            bits.read(79)
    shape = bits.read(2)
    if shape == 3 and version != 1:
        bits.read(4)
    bits.read(1)
    resolution = bits.read(16)
    bits.read(1)
    if bits.read(1):
        bits.read(max(1, (resolution - 1).bit_length()))
    if shape == 0:
        bits.read(1 + 13 + 1 + 13 + 1)
    return bool(bits.read(1))


class _Hevc:
    """H.265: the general profile of a sequence says which kind of source it has."""

    def __init__(self, header: bytes) -> None:
        self._interlaced = False
        if header[:1] == b"\x01" and len(header) > 6:
            self._learn(header[6])  # a decoder configuration record (ISO/IEC 14496-15)
        else:
            self.interlaced(header)

    def interlaced(self, data: bytes) -> bool:
        for match in _START_CODE.finditer(data):
            if (match[1][0] >> 1) & 0x3F == 33:
                # 2 bytes of NAL header, 1 of ids, 1 of profile, 4 of compatibility.
                head = data[match.start() + 3 : match.start() + 32]
                self._learn(head.replace(b"\0\0\3", b"\0\0")[2 + 1 + 1 + 4])
        return self._interlaced

    def _learn(self, flags: int) -> None:
        self._interlaced = bool(flags & 0x40) and not flags & 0x80


def _prores(data: bytes) -> bool:
    return data[4:8] == b"icpf" and (data[8 + 12] >> 2) & 3 != 0


def _dnxhd(data: bytes) -> bool:
    return data[:4] == b"\x00\x00\x02\x80" and bool(data[5] & 2)


def _motion_jpeg(data: bytes) -> bool:
    """Motion JPEG in AVI: its application segment says which field an image is."""
    at = data.find(b"\xff\xe0", 0, 512)
    return at >= 0 and data[at + 4 : at + 8] == b"AVI1" and data[at + 8] != 0


def _always(_: bytes) -> bool:
    return True


def _never(_: bytes) -> bool:
    return False
