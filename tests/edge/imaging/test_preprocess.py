"""One resize rule: antialiased, in the right place, whatever the size and channel order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import DataError, UsageError
from edge.imaging.preprocess import normalize, to_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]


def natural(height: int, width: int, seed: int = 0) -> U8:
    """Structure at every scale, and a camera's noise."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width, 3), 110, np.float32)
    for cells in (4, 16, 64):
        coarse = generator.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image += generator.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1080, 1920),
        (1079, 1919),
        (2160, 3840),
        (1080, 1350),
        (720, 1280),
        (576, 720),
        (531, 622),
        (288, 384),
        (1200, 300),
    ],
)
def test_close_to_a_true_area_resize(height: int, width: int) -> None:
    image = natural(height, width)
    true = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(to_input(image, (256, 256), bgr=False).astype(int) - true).mean() <= 1.5


@pytest.mark.parametrize("size", [(1080, 1920), (720, 1280)])
def test_a_fine_checkered_pattern_becomes_gray_not_moire(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    small = to_input(image, (256, 256), bgr=False)
    assert np.abs(small.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (16, 16), (404, 2000), (20, 88000)])
@pytest.mark.parametrize("step", [1, 2])
def test_a_quarter_is_the_mean_of_columns_in_two_of_four_lines(
    height: int, width: int, step: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, step * width, 3), np.uint8)[
        :, ::step
    ]
    pairs = image.reshape(height // 4, 4, width // 2, 2, 3)[:, ::2].mean(axis=(1, 3))
    framed = np.pad(pairs, ((0, 0), (1, 1), (0, 0)), "reflect")
    averaged = (framed[:, :-2] + framed[:, 1:-1] + framed[:, 2:]) / 3
    small = to_input(image, (height // 4, width // 4), bgr=False)
    assert np.abs(small - (averaged[:, ::2] + averaged[:, 1::2]) / 2).max() <= 1.5


@pytest.mark.parametrize("period", [3, 4, 6, 8])
@pytest.mark.parametrize("side", [192, 224, 256])
def test_fine_columns_become_grayer_than_by_one_linear_step(period: int, side: int) -> None:
    """Fine columns become grayer than by the linear step alone."""
    image = np.zeros((1080, 1920, 3), np.uint8)
    image[:, np.arange(1920) % period < period / 2] = 255
    lines = cv2.resize(image[::2], (960, 270), interpolation=cv2.INTER_AREA)
    alone = cv2.resize(lines, (side, side), interpolation=cv2.INTER_LINEAR)
    assert to_input(image, (side, side), bgr=False).std() < alone.std() / 2


def test_of_an_interlaced_frame_a_quarter_shows_one_field() -> None:
    still, moved = natural(1080, 1920, seed=1), natural(1080, 1920, seed=2)
    woven = still.copy()
    woven[1::2] = moved[1::2]
    assert np.array_equal(
        to_input(woven, (256, 256), bgr=True), to_input(still, (256, 256), bgr=True)
    )


@pytest.mark.parametrize(("height", "gray"), [(1080, 255), (1078, 128), (720, 128)])
def test_lines_that_alternate_become_gray_but_in_a_quarter(height: int, gray: int) -> None:
    image = np.zeros((height, 1920, 3), np.uint8)
    image[::2] = 255
    small = to_input(image, (256, 256), bgr=False)
    assert np.abs(small.astype(int) - gray).max() <= 1


@pytest.mark.parametrize(
    ("height", "width"),
    [(1080, 1920), (1083, 1917), (531, 622), (352, 352), (100, 90), (400, 3000)],
)
def test_a_marker_lands_where_it_was(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(
        image, (width * 3 // 4, height // 3), min(height, width) // 8, (255, 255, 255), cv2.FILLED
    )
    rows, columns = np.nonzero(image[..., 0])
    small = to_input(image, (192, 256), bgr=False)[..., 0].astype(float)
    y, x = np.mgrid[:192, :256] + 0.5
    assert (small * y).sum() / small.sum() == pytest.approx(
        (rows.mean() + 0.5) * 192 / height, abs=0.1
    )
    assert (small * x).sum() / small.sum() == pytest.approx(
        (columns.mean() + 0.5) * 256 / width, abs=0.1
    )


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (64, 32)])
def test_bgr_becomes_rgb(size: tuple[int, int]) -> None:
    image = natural(*size)
    bgr = np.ascontiguousarray(image[..., ::-1])
    np.testing.assert_array_equal(
        to_input(bgr, (64, 64), bgr=True), to_input(image, (64, 64), bgr=False)
    )


@pytest.mark.parametrize("bgr", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (531, 622), (64, 48), (40, 30)])
def test_a_given_place_takes_the_same_picture(height: int, width: int, bgr: bool) -> None:
    image = natural(height, width)
    place = np.full((64, 48, 3), 7, np.uint8)
    returned = to_input(image, (64, 48), bgr=bgr, out=place)
    assert returned is place
    assert np.array_equal(place, to_input(image, (64, 48), bgr=bgr))


@pytest.mark.parametrize(
    "place",
    [
        np.empty((48, 64, 3), np.uint8),
        np.empty((64, 48, 3), np.int8),
        np.empty((64, 96, 3), np.uint8)[:, ::2],
    ],
)
def test_a_place_that_does_not_fit_is_an_error(place: U8) -> None:
    with pytest.raises(UsageError, match="has the wrong shape or type"):
        to_input(natural(80, 80), (64, 48), bgr=True, out=place)


def test_the_right_size_passes_unchanged_and_is_a_copy() -> None:
    image = natural(64, 64)
    small = to_input(image, (64, 64), bgr=False)
    np.testing.assert_array_equal(small, image)
    small[:] = 0
    assert image.any()


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 24),
    st.integers(1, 24),
    st.booleans(),
    st.integers(0, 255),
)
@settings(max_examples=60)
def test_any_size_gives_the_input_and_keeps_a_flat_color(
    height: int, width: int, h: int, w: int, bgr: bool, gray: int
) -> None:
    # A crop of a larger buffer, as a camera's padded rows are.
    image = np.full((height + 3, width + 5, 3), gray, np.uint8)[1:-2, 2:-3]
    small = to_input(image, (h, w), bgr=bgr)
    assert small.shape == (h, w, 3)
    assert small.dtype == np.uint8
    assert small.flags.c_contiguous
    assert (small == gray).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
    ids=["gray", "alpha", "empty", "float"],
)
def test_what_is_no_color_picture_is_an_error(image: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="uint8"):
        to_input(image, (8, 8), bgr=False)


def test_an_empty_input_size_is_an_error() -> None:
    with pytest.raises(UsageError, match=">= 1"):
        to_input(natural(8, 8), (0, 8), bgr=False)


def test_normalization_is_exact_around_its_zero() -> None:
    values = normalize(np.array([0, 127, 128, 255], np.uint8))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([-127, 0, 1, 128], np.float32) / 128)
