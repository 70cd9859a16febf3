"""Golden pictures: plain PNGs of a known size, whatever their headers and chunks say."""

from __future__ import annotations

import resource
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.engines.golden_picture import PictureError, decode_png

SIZE = (12, 20)
PICTURE = np.random.default_rng(1).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
PNG = cv2.imencode(".png", PICTURE[..., ::-1])[1].tobytes()
SIGNATURE = PNG[:8]


def chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + crc


def header(
    width: int, height: int, depth: int = 8, color: int = 2, rest: bytes = b"\0\0\0"
) -> bytes:
    return chunk(
        b"IHDR",
        width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color]) + rest,
    )


PIXELS = chunk(b"IDAT", zlib.compress(bytes((1 + 3 * SIZE[1]) * SIZE[0])))
END = chunk(b"IEND", b"")


def test_what_was_encoded_is_decoded() -> None:
    assert (decode_png(PNG, SIZE, "RGB") == PICTURE).all()
    gray = cv2.imencode(".png", PICTURE[..., 0])[1].tobytes()
    assert (decode_png(gray, SIZE, "gray") == PICTURE[..., 0]).all()
    assert not decode_png(SIGNATURE + header(20, 12) + PIXELS + END, SIZE, "RGB").any()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SIGNATURE,
        PNG[:20],
        PNG[:60],
        cv2.imencode(".jpg", PICTURE)[1].tobytes(),
        SIGNATURE + header(60_000, 60_000) + PIXELS + END,
        SIGNATURE + header(20, 12, depth=16) + PIXELS + END,
        SIGNATURE + header(20, 12, color=3) + chunk(b"PLTE", bytes(3)) + PIXELS + END,
        SIGNATURE + header(20, 12, color=6) + PIXELS + END,
        SIGNATURE + header(20, 12, rest=b"\0\0\1") + PIXELS + END,
        SIGNATURE + PIXELS + header(20, 12) + END,
        SIGNATURE + header(20, 12) + header(60_000, 60_000) + PIXELS + END,
        SIGNATURE + header(20, 12) + END,
        SIGNATURE + b"\xff\xff\xff\xffIHDR" + PNG[16:],
    ],
)
def test_anything_else_is_refused_before_it_takes_memory(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError):
        decode_png(data, SIZE, "RGB")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20))),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 << 20))),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
        chunk(b"acTL", (1000).to_bytes(4, "big") + bytes(4))
        + chunk(b"fcTL", bytes(4) + (60_000).to_bytes(4, "big") * 2 + bytes(14)),
    ],
)
def test_what_only_describes_the_pixels_is_left_out(extra: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = SIGNATURE + PNG[8:33] + extra + PNG[33:]
    assert (decode_png(data, SIZE, "RGB") == PICTURE).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@given(st.lists(st.tuples(st.integers(0, len(PNG) - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_is_a_picture_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(PNG)
    for place, value in changes:
        data[place] = value
    try:
        picture = decode_png(bytes(data), SIZE, "RGB")
    except PictureError:
        return
    assert picture.shape == (*SIZE, 3)
