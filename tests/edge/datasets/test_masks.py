"""Masks of annotation tools: read by their own range and structure, or refused by name."""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.datasets.masks import looks_inverted, read_mask
from edge.datasets.pairs import Pair, read_pair
from edge.errors import DataError
from edge.evaluation.evaluator import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import MaskBool

SIZE = (96, 128)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
LEFT = (COLUMNS - 35) ** 2 + (ROWS - 45) ** 2 <= 15**2
RIGHT = (COLUMNS - 90) ** 2 + (ROWS - 50) ** 2 <= 20**2
BOTH = LEFT | RIGHT
NONE = np.zeros(SIZE, dtype=bool)
RED, GREEN, BLUE, YELLOW, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255,) * 3


def save(path: Path, pixels: NDArray[Any], *options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, options)
    return path


def paint(*areas: tuple[MaskBool, Any], dtype: type = np.uint8) -> NDArray[Any]:
    depth = np.ndim(areas[0][1]) and len(areas[0][1])
    pixels: NDArray[Any] = np.zeros((*SIZE, depth) if depth else SIZE, dtype)
    for area, value in areas:
        pixels[area] = value
    return pixels


def assert_reads(path: Path, expected: MaskBool) -> None:
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    assert np.mean(mask != expected) < 0.005
    assert mask.any() == expected.any()


@pytest.mark.parametrize("value", [1, 2, 127, 254, 255])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_eight_bits_are_read_by_their_own_range(value: int, suffix: str, tmp_path: Path) -> None:
    assert_reads(save(tmp_path / f"m{suffix}", paint((LEFT, value))), LEFT)


@pytest.mark.parametrize("value", [1, 255, 4096, 65535])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_read_by_their_own_range(value: int, suffix: str, tmp_path: Path) -> None:
    assert_reads(save(tmp_path / f"m{suffix}", paint((LEFT, value), dtype=np.uint16)), LEFT)


def test_floating_point_is_read_by_its_own_range(tmp_path: Path) -> None:
    assert_reads(save(tmp_path / "hard.tif", paint((LEFT, 1.0), dtype=np.float32)), LEFT)
    soft = cv2.GaussianBlur(paint((LEFT, 1.0), dtype=np.float32), (0, 0), 1)
    assert_reads(save(tmp_path / "soft.tif", soft), LEFT)
    soft[3, 3] = np.nan
    with pytest.raises(DataError, match=r"soft\.tif is not a mask"):
        read_mask(save(tmp_path / "soft.tif", soft))


@pytest.mark.parametrize("color", [WHITE, (0, 0, 0), RED])
def test_a_mask_in_the_alpha_channel_is_read(color: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.dstack([np.full((*SIZE, 3), color, np.uint8), paint((LEFT, 255))])
    assert_reads(save(tmp_path / "m.png", pixels), LEFT)
    pixels[..., 3] = 0
    assert_reads(save(tmp_path / "empty.png", pixels), NONE)


def test_colors_beside_an_alpha_channel_are_read_or_refused(tmp_path: Path) -> None:
    opaque = np.dstack([paint((LEFT, RED)), np.full(SIZE, 255, np.uint8)])
    assert_reads(save(tmp_path / "opaque.png", opaque), LEFT)
    on_nothing = np.dstack([paint((LEFT, RED), (RIGHT, GREEN)), paint((BOTH, 255))])
    assert_reads(save(tmp_path / "nothing.png", on_nothing), BOTH)
    apart = np.dstack([paint((LEFT, WHITE)), paint((RIGHT, 255))])
    with pytest.raises(DataError, match=r"apart\.png is not a mask") as caught:
        read_mask(save(tmp_path / "apart.png", apart))
    assert "two different masks" in caught.value.got


def indexed(path: Path, entries: NDArray[Any], *colors: tuple[int, int, int]) -> Path:
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in entries.astype(np.uint8))
    written = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", header),
        (b"PLTE", bytes(sum(colors, ()))),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        written += struct.pack(">I", len(body)) + kind + body
        written += struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(written)
    return path


def test_a_palette_is_read_by_its_colors(tmp_path: Path) -> None:
    assert_reads(indexed(tmp_path / "red.png", LEFT, (0, 0, 0), (128, 0, 0)), LEFT)
    assert_reads(indexed(tmp_path / "gray.png", LEFT, (0, 0, 0), (1, 1, 1)), LEFT)
    with pytest.raises(DataError, match=r"black\.png is not a mask") as caught:
        read_mask(indexed(tmp_path / "black.png", LEFT, (0, 0, 0), (0, 0, 0)))
    assert "palette" in caught.value.got


def bmp(path: Path, *colors: tuple[int, int, int]) -> Path:
    rows = b"".join(row.tobytes() for row in LEFT[::-1].astype(np.uint8))
    palette = b"".join(bytes([*color[::-1], 0]) for color in colors)
    begin = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", begin + len(rows), 0, 0, begin)
    info = struct.pack("<IiiHHIIiiII", 40, SIZE[1], SIZE[0], 1, 8, 0, 0, 0, 0, len(colors), 0)
    path.write_bytes(head + info + palette + rows)
    return path


def tiff(path: Path, colors: list[int]) -> Path:
    rows = LEFT.astype(np.uint8).tobytes()
    at = 8 + len(rows)
    entries = [
        (256, 3, 1, SIZE[1]), (257, 3, 1, SIZE[0]), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 3),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, SIZE[0]), (279, 4, 1, len(rows)),
        (320, 3, 768, at),
    ]  # fmt: skip
    table = np.zeros((3, 256), "<u2")
    table[:, : len(colors)] = colors
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    begin = at + table.nbytes
    written = b"II*\0" + struct.pack("<I", begin) + rows + table.tobytes() + directory
    path.write_bytes(written + struct.pack("<I", 0))
    return path


def test_a_black_palette_hides_classes_in_every_format(tmp_path: Path) -> None:
    assert_reads(bmp(tmp_path / "gray.bmp", (0, 0, 0), (9, 9, 9)), LEFT)
    assert_reads(tiff(tmp_path / "gray.tif", [0, 2570]), LEFT)
    hidden = (bmp(tmp_path / "black.bmp", (0, 0, 0), (0, 0, 0)), tiff(tmp_path / "b.tif", [0, 0]))
    for path in hidden:
        with pytest.raises(DataError, match="is not a mask") as caught:
            read_mask(path)
        assert "palette" in caught.value.got


def test_a_black_page_before_others_is_no_mask(tmp_path: Path) -> None:
    pages = [np.zeros(SIZE, np.uint8), LEFT.astype(np.uint8) * 255]
    assert cv2.imwritemulti(str(tmp_path / "two.tif"), pages)
    with pytest.raises(DataError, match="is not a mask") as caught:
        read_mask(tmp_path / "two.tif")
    assert "pages" in caught.value.got
    assert cv2.imwritemulti(str(tmp_path / "first.tif"), pages[::-1])
    assert_reads(tmp_path / "first.tif", LEFT)


@pytest.mark.parametrize(
    "areas",
    [
        [(LEFT, RED), (RIGHT, GREEN)],
        [(LEFT, RED), (RIGHT, WHITE)],
        [(LEFT, BLUE), (RIGHT, YELLOW)],
        [(LEFT, (0, 0, 40)), (RIGHT, WHITE)],
        [(LEFT, 100), (RIGHT, 255)],
        [(LEFT, 1), (RIGHT, 2)],
        [(LEFT, 38), (RIGHT, 75)],
    ],
)
def test_every_class_is_polyp(areas: list[tuple[MaskBool, Any]], tmp_path: Path) -> None:
    assert_reads(save(tmp_path / "m.png", paint(*areas)), BOTH)


@pytest.mark.parametrize("areas", [[(LEFT, BLUE)], [(LEFT, (0, 0, 128))], [(LEFT, (64, 0, 0))]])
def test_dark_colors_in_jpeg_are_polyp(areas: list[tuple[MaskBool, Any]], tmp_path: Path) -> None:
    assert_reads(save(tmp_path / "m.jpg", paint(*areas)), LEFT)


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("value", [2, 3, 10])
def test_class_numbers_that_compression_blurred_are_refused(
    quality: int, value: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "m.jpg", paint((LEFT, value)), cv2.IMWRITE_JPEG_QUALITY, quality)
    with pytest.raises(DataError, match=r"m\.jpg is not a mask") as caught:
        read_mask(path)
    assert "class numbers or colors" in caught.value.got


def test_a_large_class_that_compression_blurred_is_refused(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:288, :384]
    most = ((columns - 200) / 170) ** 2 + ((rows - 150) / 120) ** 2 <= 1
    path = save(tmp_path / "m.jpg", most.astype(np.uint8) * 2, cv2.IMWRITE_JPEG_QUALITY, 60)
    with pytest.raises(DataError, match=r"m\.jpg is not a mask") as caught:
        read_mask(path)
    assert "class numbers or colors" in caught.value.got


@pytest.mark.parametrize("value", [20, 40, 100, 180])
def test_a_darker_class_in_jpeg_is_refused(value: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.jpg is not a mask") as caught:
        read_mask(save(tmp_path / "m.jpg", paint((LEFT, value), (RIGHT, 255))))
    assert "second class" in caught.value.got


def test_a_lossless_webp_is_not_lossy(tmp_path: Path) -> None:
    path = save(tmp_path / "m.webp", paint((LEFT, 1)), cv2.IMWRITE_WEBP_QUALITY, 101)
    assert_reads(path, LEFT)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("most", [0, 3, 8])
def test_noise_around_black_is_background(suffix: str, most: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, most + 1, SIZE).astype(np.uint8)
    quality = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[suffix]
    assert_reads(save(tmp_path / f"m{suffix}", noise, quality, 80), NONE)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_noise_around_a_polyp_is_background(quality: int, tmp_path: Path) -> None:
    path = save(tmp_path / "m.jpg", paint((BOTH, 255)), cv2.IMWRITE_JPEG_QUALITY, quality)
    assert_reads(path, BOTH)
    again = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert again is not None
    assert_reads(save(tmp_path / "from-jpeg.png", again), BOTH)


@pytest.mark.parametrize(
    "pixels",
    [
        LEFT.astype(np.uint8) + 1,
        np.full(SIZE, 1, np.uint8),
        np.where(LEFT, 255, 127).astype(np.uint8),
        np.where(LEFT[..., None], RED, WHITE).astype(np.uint8),
        np.random.default_rng(0).integers(0, 4, SIZE).astype(np.uint8),
        paint((LEFT, 1), (RIGHT, 255)),
    ],
    ids=["classes 1 and 2", "one class", "gray on white", "red on white", "noise", "1 beside 255"],
)
def test_what_cannot_be_told_is_refused(pixels: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.png is not a mask"):
        read_mask(save(tmp_path / "m.png", pixels))


def test_a_white_mask_is_polyp_everywhere(tmp_path: Path) -> None:
    for name in ("m.png", "m.jpg"):
        assert read_mask(save(tmp_path / name, paint((~NONE, 255)))).all()


def test_swapped_masks_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("edge"), "propagate", True)
    assert looks_inverted(~LEFT)
    assert not looks_inverted(BOTH)
    pairs = []
    for number in range(3):
        image = save(tmp_path / "images" / f"{number}.png", np.full((*SIZE, 3), 90, np.uint8))
        mask = save(tmp_path / "masks" / f"{number}.png", paint((~LEFT, 255)))
        pairs.append(Pair(image, mask, str(number)))
    evaluate(pairs, lambda _: np.zeros((4, 4), np.float32))
    assert "touch all four edges in 3 of 3 frames" in caplog.text


def test_frames_of_a_video_folder_belong_to_the_video(
    tmp_path: Path,
) -> None:
    image = save(tmp_path / "Frame" / "case1" / "1.png", np.full((*SIZE, 3), 90, np.uint8))
    mask = save(tmp_path / "GT" / "case1" / "1.png", paint((LEFT, 255)))
    pair = Pair(image, mask, "case1/1", video="case1")
    (row,) = evaluate([pair], lambda _: np.zeros((4, 4), np.float32), dataset="sun").per_image
    assert (row.dataset, row.sequence) == ("sun", "case1")


def turned(path: Path, orientation: int) -> Path:
    """Write an EXIF orientation into a JPEG."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    return path


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_picture_never_leaves_its_mask(orientation: int, tmp_path: Path) -> None:
    picture = paint((LEFT, RED))
    image = turned(save(tmp_path / "i.jpg", picture), orientation)
    mask = save(tmp_path / "m.png", paint((LEFT, 255)))
    if orientation < 5:
        with pytest.raises(DataError, match=f"EXIF orientation {orientation} and its mask .* none"):
            read_pair(image, mask)
    else:
        pixels, inside = read_pair(image, mask)
        assert np.mean((pixels[..., 0] > 127) != inside) < 0.02
    original = cv2.imread(str(image))
    assert original is not None
    if orientation >= 5:
        on_shown = save(tmp_path / "shown.png", (original[..., 2] > 127).astype(np.uint8) * 255)
        pixels, inside = read_pair(image, on_shown)
        assert pixels.shape[:2] == (SIZE[1], SIZE[0])
        assert np.mean((pixels[..., 0] > 127) != inside) < 0.02
    both = turned(save(tmp_path / "m.jpg", paint((LEFT, 255))), orientation)
    pixels, inside = read_pair(image, both)
    assert np.mean((pixels[..., 0] > 127) != inside) < 0.02
    with pytest.raises(DataError, match="EXIF orientation"):
        read_pair(save(tmp_path / "plain.jpg", picture), both)


@pytest.mark.parametrize("value", [1, 2, 5, 10, 16])
@pytest.mark.parametrize("quality", [75, 90, 98])
def test_a_faint_class_beside_a_strong_one_is_refused(
    quality: int, value: int, tmp_path: Path
) -> None:
    path = save(
        tmp_path / "m.jpg", paint((LEFT, value), (RIGHT, 255)), cv2.IMWRITE_JPEG_QUALITY, quality
    )
    with pytest.raises(DataError, match=r"m\.jpg is not a mask") as caught:
        read_mask(path)
    assert "second class" in caught.value.got


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("color", [(0, 0, 20), (9, 0, 0), (10, 10, 10)])
def test_a_dark_color_beside_a_bright_one_is_refused(
    color: tuple[int, int, int], suffix: str, tmp_path: Path
) -> None:
    for bright in (WHITE, RED, GREEN):
        pixels = paint((LEFT, color), (RIGHT, bright))
        path = save(tmp_path / f"m{suffix}", pixels, cv2.IMWRITE_WEBP_QUALITY, 80)
        with pytest.raises(DataError, match="is not a mask"):
            read_mask(path)


def test_a_soft_edge_does_not_hide_a_faint_class(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(paint((LEFT, 8), (RIGHT, 255)), (0, 0), 1)
    with pytest.raises(DataError, match="second class"):
        read_mask(save(tmp_path / "m.png", soft))
    plain = cv2.GaussianBlur(paint((BOTH, 255)), (0, 0), 2)
    assert_reads(save(tmp_path / "plain.png", plain), BOTH)


@pytest.mark.parametrize("half", [100, 128, 160])
def test_a_small_class_of_half_strength_is_refused(half: int, tmp_path: Path) -> None:
    small = (COLUMNS - 35) ** 2 + (ROWS - 45) ** 2 <= 5**2
    for suffix in (".jpg", ".png"):
        pixels = paint((small, half), (RIGHT, 255))
        pixels = pixels if suffix == ".jpg" else cv2.GaussianBlur(pixels, (0, 0), 1)
        with pytest.raises(DataError, match="second class"):
            read_mask(save(tmp_path / f"m{suffix}", pixels))


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("value", [20, 38])
def test_a_tiny_class_that_compression_blurred_is_refused(
    quality: int, value: int, tmp_path: Path
) -> None:
    tiny = (COLUMNS - 36) ** 2 + (ROWS - 44) ** 2 <= 5**2
    path = save(tmp_path / "m.jpg", paint((tiny, value)), cv2.IMWRITE_JPEG_QUALITY, quality)
    with pytest.raises(DataError, match="class numbers or colors"):
        read_mask(path)


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("scale", [0.5, 1.4, 2])
def test_traces_of_compression_are_background(quality: int, scale: float, tmp_path: Path) -> None:
    first = save(tmp_path / "m.jpg", paint((BOTH, 255)), cv2.IMWRITE_JPEG_QUALITY, quality)
    pixels = cv2.imread(str(first), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    size = (round(scale * SIZE[1]), round(scale * SIZE[0]))
    other = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    expected = cv2.resize(BOTH.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    for name in ("again.jpg", "again.png", "again.webp"):
        mask = read_mask(save(tmp_path / name, other))
        assert np.mean(mask != expected) < 0.02


def test_a_thin_second_class_is_polyp(tmp_path: Path) -> None:
    thin = np.zeros(SIZE, np.uint8)
    cv2.line(thin, (10, 10), (50, 12), 1)
    path = save(tmp_path / "m.png", paint((thin > 0, 60), (RIGHT, 255)))
    assert_reads(path, (thin > 0) | RIGHT)


@pytest.mark.parametrize("values", [(1, 255), (16, 235)])
def test_a_background_that_is_not_black_is_refused(values: tuple[int, int], tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.where(LEFT, values[1], values[0]).astype(np.uint8))
    with pytest.raises(DataError, match="no black pixel"):
        read_mask(path)


def test_a_palette_in_any_order_shows_the_same_mask(tmp_path: Path) -> None:
    assert_reads(indexed(tmp_path / "m.png", ~LEFT, (255, 255, 255), (0, 0, 0)), LEFT)
    three = np.select([LEFT, RIGHT], [0, 1], 2)
    assert_reads(indexed(tmp_path / "n.png", three, (128, 0, 0), (0, 128, 0), (0, 0, 0)), BOTH)


@pytest.mark.parametrize(
    "colors",
    [
        [(255, 255, 255), (0, 0, 0), (128, 0, 0)],
        [(255, 255, 255), (128, 0, 0), (0, 0, 0)],
        [(128, 128, 128), (0, 0, 0), (0, 0, 0)],
        [(0, 0, 0), (0, 0, 0), (255, 255, 255)],
        [(0, 0, 0), (128, 0, 0), (0, 0, 0)],
    ],
)
def test_a_palette_against_its_entries_is_refused(
    colors: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    classes = np.select([LEFT, RIGHT], [1, 2], 0)
    with pytest.raises(DataError, match="is not a mask") as caught:
        read_mask(indexed(tmp_path / "m.png", classes, *colors))
    assert "palette" in caught.value.got


def test_black_that_is_opaque_beside_transparency_is_refused(tmp_path: Path) -> None:
    pixels = np.dstack([paint((RIGHT, WHITE)), paint((BOTH, 255))])
    with pytest.raises(DataError, match="two different masks"):
        read_mask(save(tmp_path / "m.png", pixels))


def test_an_inverted_mask_of_a_polyp_at_the_border_is_seen() -> None:
    corner = (COLUMNS - 0) ** 2 + (ROWS - 0) ** 2 <= 50**2
    side = (COLUMNS - 0) ** 2 + (ROWS - 48) ** 2 <= 40**2
    assert looks_inverted(~corner)
    assert looks_inverted(~side)
    assert not looks_inverted(corner)
    assert not looks_inverted(side)


@pytest.mark.parametrize("value", [2, 4, 8])
@pytest.mark.parametrize("quality", [60, 80, 95])
def test_a_faint_class_in_lossy_webp_is_refused(quality: int, value: int, tmp_path: Path) -> None:
    pixels = paint((LEFT, value), (RIGHT, 255))
    path = save(tmp_path / "m.webp", pixels, cv2.IMWRITE_WEBP_QUALITY, quality)
    with pytest.raises(DataError, match="second class"):
        read_mask(path)


@pytest.mark.parametrize("quality", [60, 75, 90])
@pytest.mark.parametrize("color", [WHITE, RED, BLUE])
def test_traces_of_webp_are_background(
    color: tuple[int, ...], quality: int, tmp_path: Path
) -> None:
    pixels = paint((BOTH, color))
    assert_reads(save(tmp_path / "m.webp", pixels, cv2.IMWRITE_WEBP_QUALITY, quality), BOTH)
