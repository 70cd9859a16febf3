"""Headers of coded pictures that say whether they are fields."""

from __future__ import annotations

import pytest

from edge.sources.bits import Bits
from edge.sources.interlacing import Interlacing

START = b"\x00\x00\x01"


def bits(*fields: tuple[int, int] | int) -> bytes:
    """Fields of (width, value), or a number in the unsigned Exp-Golomb code."""
    text = ""
    for one in fields:
        if isinstance(one, int):
            code = f"{one + 1:b}"
            text += "0" * (len(code) - 1) + code
        else:
            text += f"{one[1]:0{one[0]}b}"
    text += "1"
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def sequence(*, frames_only: bool, adaptive: bool = False, structured: bool = False) -> bytes:
    """A sequence parameter set of the main profile, 64x64."""
    fields: list[tuple[int, int] | int] = [(8, 77), (16, 30), 0, 0, 2, 1, (1, 0), 3, 3]
    fields.append((1, int(frames_only)))
    if not frames_only:
        fields.append((1, int(adaptive)))
    fields += [(1, 1), (1, 0), (1, int(structured))]
    if structured:
        # No aspect, overscan, signal type, chroma place, timing or decoder models; a structure.
        fields += [(1, 0)] * 7 + [(1, 1), (1, 0)]
    return START + b"\x67" + bits(*fields)


PICTURE = START + b"\x68" + bits(0, 0, (1, 0), (1, 0))


def slice_of(*, field: bool) -> bytes:
    return START + b"\x65" + bits(0, 7, 0, (4, 0), (1, int(field)), (16, 0x5555))


def timing(structure: int, scan: int | None = None) -> bytes:
    fields = [(4, structure), (1, int(scan is not None))]
    if scan is not None:
        fields += [(2, scan), (8, 0)]
    body = bits(*fields)
    return START + b"\x06" + bytes([1, len(body)]) + body + b"\x80"


@pytest.mark.parametrize(
    ("packet", "interlaced"),
    [
        (sequence(frames_only=True) + PICTURE + slice_of(field=True), False),
        (sequence(frames_only=False) + PICTURE + slice_of(field=True), True),
        (sequence(frames_only=False) + PICTURE + slice_of(field=False), False),
        (sequence(frames_only=False, adaptive=True) + PICTURE + slice_of(field=False), True),
        (
            sequence(frames_only=False, structured=True)
            + PICTURE
            + timing(3)
            + slice_of(field=False),
            True,
        ),
        (
            sequence(frames_only=False, adaptive=True, structured=True)
            + PICTURE
            + timing(0)
            + slice_of(field=False),
            False,
        ),
        (
            sequence(frames_only=True, structured=True)
            + PICTURE
            + timing(3, 1)
            + slice_of(field=False),
            True,
        ),
        (
            sequence(frames_only=True, structured=True)
            + PICTURE
            + timing(3, 0)
            + slice_of(field=False),
            False,
        ),
        (slice_of(field=True), False),
        (b"", False),
        (START + b"\x67", False),
    ],
)
def test_h264(packet: bytes, interlaced: bool) -> None:
    assert Interlacing("avc1").interlaced(packet) is interlaced


def test_h264_in_mp4_has_its_parameters_in_the_header() -> None:
    one = sequence(frames_only=False, adaptive=True)[3:]
    other = PICTURE[3:]
    header = b"\x01\x4d\x00\x1e\xff\xe1" + len(one).to_bytes(2, "big") + one
    header += b"\x01" + len(other).to_bytes(2, "big") + other
    assert Interlacing("h264", header).interlaced(slice_of(field=False))


@pytest.mark.parametrize(
    ("codec", "packet", "interlaced"),
    [
        ("dvsd", b"any", True),
        ("apch", bytes(4) + b"icpf" + bytes(12) + b"\x84" + bytes(8), True),
        ("apch", bytes(4) + b"icpf" + bytes(12) + b"\x80" + bytes(8), False),
        ("AVdn", b"\x00\x00\x02\x80\x01\x02" + bytes(8), True),
        ("AVdn", b"\x00\x00\x02\x80\x01\x01" + bytes(8), False),
        ("MJPG", b"\xff\xd8\xff\xe0\x00\x10AVI1\x01" + bytes(8), True),
        ("MJPG", b"\xff\xd8\xff\xe0\x00\x10AVI1\x00" + bytes(8), False),
        ("hvc1", START + b"\x42\x01\x01\x01\x60\x00\x00\x03\x00\x40" + bytes(8), True),
        ("hvc1", START + b"\x42\x01\x01\x01\x60\x00\x00\x03\x00\x90" + bytes(8), False),
        ("VP80", b"\xff" * 40, False),
    ],
)
def test_other_codecs(codec: str, packet: bytes, interlaced: bool) -> None:
    assert Interlacing(codec).interlaced(packet) is interlaced


def test_a_header_that_ends_early_is_an_error_of_its_own() -> None:
    with pytest.raises(ValueError, match="ends early"):
        Bits(b"\x01").read(9)
    with pytest.raises(ValueError, match="ends early"):
        Bits(b"\x00").golomb()
