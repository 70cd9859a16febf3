"""Tell what container a clip's file is, and whether it ends before its container does.

FFmpeg reports a file that was cut and the regular end of a file in the same way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
_BOX_NAME = re.compile(rb"[A-Za-z0-9 ]{4}")
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
"""First half of the identifier of the header of ASF, the container of WMV."""
_ASF_FILE = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
"""Identifier of its file properties."""
_SIGNATURES: tuple[tuple[int, bytes], ...] = (
    *((4, name) for name in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (0, b"RIFF"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"\0\0\1"),  # MPEG program and elementary streams, H.264, HEVC
    (0, b"\0\0\0\1"),
    (0, _ASF),
    (0, b"FLV\1"),
    (0, b"OggS"),
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"DKIF"),
    (0, b"YUV4MPEG2 "),
    (0, b"GIF8"),
    (0, b"\xff\xd8\xff"),  # MJPEG
    (0, b"\x1f\x07\0"),  # DV
    (0, b".RMF"),
    (0, b"nut/multimedia container\0"),
)
"""Offset and bytes by which FFmpeg knows containers that hold their video themselves."""

_LISTS = (b"c=IN IP", b"<MPD", b"<SmoothStreaming", b"#EXTM3U", b"ffconcat")
"""By which FFmpeg knows playlists, some of them anywhere in the bytes that it probes."""

_PROBED = 1 << 20
"""Bytes of a file that FFmpeg probes at most."""

_SYNC, _PACKET, _STAMPED_PACKET = 0x47, 188, 192
"""Sync byte and size of a transport stream's packet; in M2TS a time of 4 bytes precedes it."""

_HIDDEN_S = 0.5
_MAX_ELEMENTS = 1_000_000


def holds_its_video(path: Path) -> bool:
    """Return whether a file is of a known container, which names no other file or address.

    FFmpeg also follows playlists: text files that lead to any file of this machine, or into the
    network.

    Args:
        path: The clip.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_PROBED)
    if any(mark in head for mark in _LISTS):
        return False
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        return True
    packets = (head[::_PACKET][:5], head[4::_STAMPED_PACKET][:5])
    return any(sync == bytes([_SYNC] * 5) for sync in packets)


def container_of(file: BinaryIO) -> tuple[int, Literal["mp4", "riff", "matroska", "asf", ""]]:
    """Return the size of an open file and its container; empty for any other.

    Args:
        file: The clip, opened for reading; its position changes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return size, "mp4"
    if head[:4] == b"RIFF":
        return size, "riff"
    if head[:8] == _ASF:
        return size, "asf"
    return size, "matroska" if int.from_bytes(head[:4], "big") == EBML else ""


def missing_bytes(path: Path) -> int:
    """Return how many bytes are missing at the end of a clip; 0 if none are known to be.

    MP4 and QuickTime, AVI and WAV-like RIFF, Matroska and WebM, and ASF (WMV) state their sizes;
    transport and program streams do not.

    Args:
        path: The clip.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size, kind = container_of(file)
        if kind == "mp4":
            end = _end_of_boxes(file, size)
        elif kind == "riff":
            end = _end_of_riff(file, size)
        elif kind == "matroska":
            end = _end_of_elements(file, size)
        elif kind == "asf":
            end = _end_of_asf(file, size)
        else:
            return 0
    return max(0, end - size)


def is_whole_mp4(path: Path) -> bool:
    """Return whether an MP4 file has its index and all bytes that its boxes announce.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        top_boxes = list(boxes(file, 0, size))
    names_valid = all(_BOX_NAME.fullmatch(kind) for kind, _, _ in top_boxes)
    return (
        names_valid
        and any(kind == b"moov" for kind, _, _ in top_boxes)
        and top_boxes[-1][2] == size
    )


def hides_frames(path: Path) -> bool:
    """Return whether an edit list of an MP4 file hides a part of its video.

    Args:
        path: The clip.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for kind, begin, end in boxes(file, 0, size):
            if kind == b"moov":
                parts = list(boxes(file, begin, end))
                scale = _duration(file, parts, b"mvhd")[0]
                tracks = [part for part in parts if part[0] == b"trak"]
                return any(_track_hides(file, track, scale) for track in tracks)
            if not kind.isascii():
                break
    return False


def _track_hides(file: BinaryIO, track: tuple[bytes, int, int], movie_scale: int) -> bool:
    parts = list(boxes(file, *track[1:]))
    media = [inner for kind, *at in parts if kind == b"mdia" for inner in boxes(file, *at)]
    edits = [inner for kind, *at in parts if kind == b"edts" for inner in boxes(file, *at)]
    scale, duration = _duration(file, media, b"mdhd")
    shown_s = 0.0
    for kind, begin, _ in edits:
        if kind == b"elst" and movie_scale:
            file.seek(begin)
            head = file.read(8)
            wide = 8 if head[:1] == b"\1" else 4
            for _ in range(min(int.from_bytes(head[4:8], "big"), 1000)):
                entry = file.read(2 * wide + 4)
                media_time = int.from_bytes(entry[wide : 2 * wide], "big", signed=True)
                if media_time >= 0:
                    shown_s += int.from_bytes(entry[:wide], "big") / movie_scale
    return bool(shown_s and scale) and duration / scale - shown_s > _HIDDEN_S


def _duration(
    file: BinaryIO, headers: list[tuple[bytes, int, int]], kind_wanted: bytes
) -> tuple[int, int]:
    """Return time scale and duration of a header box; (0, 0) if it is missing."""
    for kind, begin, _ in headers:
        if kind == kind_wanted:
            file.seek(begin)
            head = file.read(32)
            if head[:1] == b"\1":
                return int.from_bytes(head[20:24], "big"), int.from_bytes(head[24:32], "big")
            return int.from_bytes(head[12:16], "big"), int.from_bytes(head[16:20], "big")
    return 0, 0


def boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and end of the boxes between two positions."""
    at = begin
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        if length == 0:
            length = end - at
        if length < header:
            return
        yield head[4:8], at + header, at + length
        at += length


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 file ends (ISO/IEC 14496-12, 4.2)."""
    last = 0
    for kind, _, end in boxes(file, 0, size):
        if not _BOX_NAME.fullmatch(kind):
            return size  # bytes that some program appended
        last = end
    return last


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Return where the last RIFF chunk ends; a large AVI has several."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        # A recorder that was not stopped leaves 0, a stream has the largest number.
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return size
        at += 8 + length + length % 2
    # Writers disagree on whether the last byte of padding is there.
    return at - 1 if at == size + 1 else at


def _end_of_asf(file: BinaryIO, size: int) -> int:
    """Return the size that an ASF file states (ASF specification, 3.2); a broadcast states none."""
    file.seek(0)
    head = file.read(_PROBED)
    at = head.find(_ASF_FILE)
    if at < 0 or int.from_bytes(head[at + 88 : at + 92], "little") & 1:
        return size
    return int.from_bytes(head[at + 40 : at + 48], "little")


def _end_of_elements(file: BinaryIO, size: int) -> int:
    """Return where the last element of a Matroska file ends (RFC 8794), one level into segments."""
    at = 0
    for _ in range(_MAX_ELEMENTS):
        if at + 2 > size:
            return at
        file.seek(at)
        head = file.read(12)
        name, after = vint(head, 0, keep=True)
        length, begin = vint(head, after)
        if name == 0 or begin == 0:
            return size
        unknown = length == (1 << 7 * (begin - after)) - 1
        if name == SEGMENT and unknown:
            at += begin
        elif unknown:
            return size
        else:
            at += begin + length
    return size


def vint(data: bytes, at: int, *, keep: bool = False) -> tuple[int, int]:
    """Return a number of variable length and the index behind it; (0, 0) if there is none."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if not first or at + length > len(data):
        return 0, 0
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep else value & ((1 << 7 * length) - 1)), at + length
