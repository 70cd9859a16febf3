"""Detects damaged JPEG images by their structure, before they are decoded.

Decoders return an image without an error for data that was truncated or zeroed in transit. Markers
and segment lengths follow ITU-T T.81 (ISO/IEC 10918-1), annex B.
"""

from __future__ import annotations

import re

_START, _END = b"\xff\xd8", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_ZEROED = bytes(64)
"""Coded images contain no such run, except flat ones with custom tables, which no camera makes."""


def jpeg_damage(data: bytes, size: tuple[int, int] | None = None) -> str:
    """Return what is wrong with a JPEG image, or an empty text if it is complete.

    Args:
        data: The image; zeros may follow up to the end of the buffer.
        size: Height and width that it must have.
    """
    if not data.startswith(_START):
        return "no start marker"
    last = data.rfind(_END)
    if last < 0 or data[last + 2 :].strip(b"\0"):
        return "no end marker"
    at, seen_frame = 2, False
    while True:
        if data[at : at + 1] != b"\xff":
            return f"no marker at byte {at}"
        while data[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        marker = data[at + 1] if at + 1 < last else 0
        if marker in _ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker < 0xC0 or marker in (0xD8, 0xD9) or length < 2 or at + 2 + length > last:
            return f"a broken segment at byte {at}"
        if marker in _FRAMES:
            frame_size = (
                int.from_bytes(data[at + 5 : at + 7], "big"),
                int.from_bytes(data[at + 7 : at + 9], "big"),
            )
            if size is not None and frame_size != size:
                return f"{frame_size[1]}x{frame_size[0]} instead of {size[1]}x{size[0]}"
            seen_frame = True
        at += 2 + length
        if marker == _SCAN:
            if not seen_frame:
                return "a scan without a frame"
            at, problem = _scan_end(data, at, last)
            if problem or at == last:
                return problem


def _scan_end(data: bytes, begin: int, last: int) -> tuple[int, str]:
    """Return where the coded data of a scan ends, and what is wrong with it."""
    for restart, match in enumerate(_MARKER.finditer(data, begin, last + 2)):
        at, marker = match.start(), match[1][0]
        if not 0xD0 <= marker <= 0xD7:
            if at == begin:
                return at, "a scan without data"
            if marker < 0xC0 or (marker == 0xD9 and match.end() != last + 2):
                return at, f"a stray marker at byte {at}"
            if data.find(_ZEROED, begin, at) >= 0:
                return at, "zeros in the coded data"
            # Fill bytes may come before the end marker.
            return (last, "") if marker == 0xD9 else (at, "")
        if marker != 0xD0 + restart % 8:
            return at, f"a restart interval is lost at byte {at}"
    return last, "no end marker"
