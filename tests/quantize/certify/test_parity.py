"""What the parity certificate says about two steps."""

from __future__ import annotations

import numpy as np
import pytest

from quantize.certify.parity import FrameSet, compare_maps, hard_frames


def maps() -> tuple[np.ndarray, np.ndarray]:
    a = np.zeros((3, 16, 16), np.uint8)
    a[0, :8], a[1, :2, :2] = 200, 200
    b = a.copy()
    b[0, 7], b[1], b[2, 0, 0] = 100, 0, 3
    return a, b


def test_only_frames_with_a_mask_count() -> None:
    a, b = maps()
    row = compare_maps("a", "b", a, b)
    assert row.mask_iou == row.worst_iou == pytest.approx(7 / 8)
    assert (row.frames, row.max_difference) == (3, 200)
    assert row.mean_difference == pytest.approx((16 * 100 + 4 * 200 + 3) / a.size)
    assert row.dice_difference is None
    nothing = compare_maps("a", "b", a[2:], b[2:])
    assert (nothing.mask_iou, nothing.worst_frame) == (None, None)


def test_the_worst_frame_is_named_and_dice_is_compared() -> None:
    a, b = maps()
    a[2, 4:12], b[2, 4:11] = 255, 255
    masks = np.zeros((3, 32, 32), bool)
    masks[0, :16] = True
    row = compare_maps(
        "a",
        "b",
        a,
        b,
        FrameSet("validation", np.zeros((3, 32, 32, 3), np.uint8), ["x", "y", "z"], masks),
    )
    assert (row.on, row.worst_frame) == ("validation", "x")
    assert row.worst_iou == pytest.approx(7 / 8)
    assert row.dice_difference == pytest.approx(2 * 7 / (7 + 8) - 1)


def test_hard_frames_are_hard_and_the_same_every_time() -> None:
    hard, again = hard_frames((24, 33)), hard_frames((24, 33))
    assert hard.frames.shape == (len(hard.names), 24, 33, 3)
    assert np.array_equal(hard.frames, again.frames)
    by_name = dict(zip(hard.names, hard.frames, strict=True))
    assert by_name["black"].max() == 0
    assert by_name["white"].min() == 255
    assert by_name["checkerboard of 1"][0, :4, 0].tolist() == [0, 255, 0, 255]
    assert by_name["checkerboard of 8"][0, :16, 0].tolist() == [0] * 8 + [255] * 8
    assert by_name["noise 1"].std() > 50
