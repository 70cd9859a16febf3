"""Regions in frame coordinates, and scores at native size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.errors import UsageError
from edge.frame import OperatingPoint
from edge.imaging.postprocess import level, mask_area, native_scores, regions, to_units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]


def block(h: int, w: int, rows: slice, columns: slice, value: int = 255) -> U8:
    scores = np.zeros((h, w), np.uint8)
    scores[rows, columns] = value
    return scores


@pytest.mark.parametrize("frame", [(1080, 1920), (480, 640), (1350, 1080), (64, 64)])
@pytest.mark.parametrize("grid", [(64, 64), (48, 64), (256, 256), (256, 320)])
def test_a_marker_lands_at_its_place_in_the_frame(
    frame: tuple[int, int], grid: tuple[int, int]
) -> None:
    (height, width), (h, w) = frame, grid
    top, bottom, left, right = h // 8, h // 4, w // 2, 3 * w // 4
    (region,) = regions(
        block(h, w, slice(top, bottom), slice(left, right)), frame, OperatingPoint(0.5, 0)
    )
    # The threshold of a linear edge lies half way between two cells: at their border.
    x, y, box_width, box_height = region.box
    cell = max(height / h, width / w)
    assert (x, y) == pytest.approx((left * width / w, top * height / h), abs=0.3 * cell + 0.5)
    assert x + box_width == pytest.approx(right * width / w, abs=0.3 * cell + 0.5)
    assert y + box_height == pytest.approx(bottom * height / h, abs=0.3 * cell + 0.5)
    assert region.area == pytest.approx((bottom - top) * (right - left) / (h * w), rel=0.1)
    assert region.score == pytest.approx(255 / 256)
    xs, ys = zip(*region.contour, strict=True)
    assert min(xs) >= x - 1
    assert max(xs) <= x + box_width
    assert np.mean([min(xs), max(xs)]) == pytest.approx((left + right) / 2 * width / w - 0.5, abs=1)
    assert np.mean([min(ys), max(ys)]) == pytest.approx(
        (top + bottom) / 2 * height / h - 0.5, abs=1
    )


def test_a_filled_outline_is_the_thresholded_mask() -> None:
    y, x = np.mgrid[:64, :64]
    scores = np.clip(320 - 12 * np.hypot(x - 40, 1.4 * (y - 20)), 0, 255).astype(np.uint8)
    (region,) = regions(scores, (720, 1280), OperatingPoint(0.5, 0.001))
    filled = np.zeros((720, 1280), np.uint8)
    cv2.fillPoly(filled, [np.array(region.contour, np.int32)], 1)
    mask = native_scores(scores, (720, 1280)) >= 0.5
    assert (mask & (filled > 0)).sum() / (mask | (filled > 0)).sum() > 0.95
    assert region.area == pytest.approx(mask.mean(), rel=0.02)


def test_small_regions_are_dropped_and_the_largest_comes_first() -> None:
    scores = block(64, 64, slice(40, 42), slice(40, 42)) | block(
        64, 64, slice(5, 8), slice(5, 8), 200
    )
    scores |= block(64, 64, slice(20, 30), slice(20, 30))
    every = regions(scores, (64, 64), OperatingPoint(0.5, 0))
    assert [round(region.area * 4096) for region in every] == sorted(
        (round(region.area * 4096) for region in every), reverse=True
    )
    assert len(every) == 3
    assert len(regions(scores, (64, 64), OperatingPoint(0.5, 6 / 4096))) == 2
    (largest,) = regions(scores, (64, 64), OperatingPoint(0.5, 20 / 4096))
    assert largest == every[0]
    assert mask_area(every) == pytest.approx(sum(region.area for region in every))


def test_a_region_below_the_minimum_peak_is_left_out() -> None:
    """A region that reaches the minimum peak nowhere is left out."""
    scores = block(64, 64, slice(5, 25), slice(5, 25), 180) | block(
        64, 64, slice(40, 50), slice(40, 50), 200
    )
    scores[44:46, 44:46] = 244
    large, small = regions(scores, (64, 64), OperatingPoint(0.5, 0))
    assert (large.score, small.score) == (180 / 256, 244 / 256)
    assert regions(scores, (64, 64), OperatingPoint(0.5, 0, min_peak=244 / 256)) == (small,), (
        "inclusive"
    )
    assert regions(scores, (64, 64), OperatingPoint(0.5, 0, min_peak=245 / 256)) == ()


def test_a_hole_is_not_part_of_the_region() -> None:
    scores = block(64, 64, slice(10, 50), slice(10, 50))
    scores[20:40, 20:40] = 0
    (region,) = regions(scores, (64, 64), OperatingPoint(0.5, 0))
    assert region.area == pytest.approx((40 * 40 - 20 * 20) / 4096, rel=0.05)


@pytest.mark.parametrize(
    ("threshold", "lowest"), [(0.5, 128), (0.4, 103), (1 / 256, 1), (255 / 256, 255)]
)
def test_the_threshold_is_inclusive(threshold: float, lowest: int) -> None:
    assert level(threshold) == lowest
    flat = np.full((256, 256), lowest, np.uint8)
    assert len(regions(flat, (256, 256), OperatingPoint(threshold, 0))) == 1
    assert regions(flat - 1, (256, 256), OperatingPoint(threshold, 0)) == ()


def test_no_score_reaches_one() -> None:
    assert regions(np.full((8, 8), 255, np.uint8), (8, 8), OperatingPoint(1.0, 0)) == ()


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, math.nan])
def test_a_threshold_out_of_range_is_an_error(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        regions(np.zeros((8, 8), np.uint8), (8, 8), OperatingPoint(threshold, 0))


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
@settings(max_examples=100)
def test_regions_lie_inside_the_frame(scores: U8, frame: tuple[int, int]) -> None:
    found_regions = regions(scores, frame, OperatingPoint(0.5, 0))
    assert 0 <= mask_area(found_regions) <= 1 + 1e-9
    for region in found_regions:
        x, y, width, height = region.box
        assert x >= 0
        assert y >= 0
        assert x + width <= frame[1]
        assert y + height <= frame[0]
        assert all(0 <= px < frame[1] and 0 <= py < frame[0] for px, py in region.contour)
        assert 0.5 <= region.score < 1


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    blobs=st.integers(1, 9),
    least=st.integers(1, 255),
)
def test_regions_hold_every_cell_of_the_enlarged_mask(
    seed: int, size: tuple[int, int], blobs: int, least: int
) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (blobs, blobs), np.uint8)
    scores = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    zoom = max(1, min(4, 256 // max(size)))
    enlarged = cv2.resize(
        scores, (size[1] * zoom, size[0] * zoom), interpolation=cv2.INTER_LINEAR_EXACT
    )
    found_regions = regions(scores, (720, 1280), OperatingPoint(least / 256, 0))
    assert mask_area(found_regions) == pytest.approx((enlarged >= least).mean())
    assert max((region.score for region in found_regions), default=0) == (
        enlarged.max() / 256 if found_regions else 0
    )


def test_native_scores_are_half_pixel_bilinear() -> None:
    native = native_scores(np.array([[0, 128], [0, 128]], np.uint8), (2, 8))
    # Written out: align_corners=False of the training framework.
    expected = [0, 0, 0.0625, 0.1875, 0.3125, 0.4375, 0.5, 0.5]
    np.testing.assert_allclose(native[0], expected, atol=1e-6)
    assert native.dtype == np.float32
    np.testing.assert_allclose(native_scores(np.array([[0, 0.5]]), (1, 8))[0], expected, atol=1e-6)


def test_scores_in_units_round_and_saturate() -> None:
    scores = np.array([0, 0.5, 0.4999, 0.25, 1.0])
    np.testing.assert_array_equal(to_units(scores), [0, 128, 128, 64, 255])
    units = np.array([[7]], np.uint8)
    assert to_units(units) is units
