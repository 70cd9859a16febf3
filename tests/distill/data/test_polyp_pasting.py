"""Polyps of labeled frames pasted into clean frames: where they land and what their mask says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from distill.data.polyp_pasting import paste_polyp

SIDE = 128


def frame(seed: int, *, color: tuple[int, int, int] = (170, 100, 80)) -> np.ndarray:
    """Mucosa in a round field of view on black."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 30, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 4)
    image: np.ndarray = np.clip(np.array(color) + noise, 40, 255).astype(np.uint8)
    view = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (SIDE // 2, SIDE // 2), 56, 255, -1)
    image[view == 0] = 0
    return image


def labeled(center: tuple[int, int] = (64, 64), radius: int = 14) -> tuple[np.ndarray, np.ndarray]:
    image = frame(1)
    mask = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), center, radius, 255, -1)
    image[mask > 0] = (220, 60, 60)
    return image, mask


def test_a_pasted_polyp_lies_inside_the_view_and_under_its_mask() -> None:
    source, source_mask = labeled()
    clean = frame(2)
    view = clean.max(axis=2) > 0
    areas = []
    for seed in range(30):
        pasted = paste_polyp(clean, source, source_mask, np.random.default_rng(seed))
        assert pasted is not None
        image, mask = pasted
        assert (image.shape, mask.shape) == (clean.shape, source_mask.shape)
        assert image.dtype == mask.dtype == np.uint8
        assert view[mask > 0].all()
        changed = np.abs(image.astype(int) - clean).max(axis=2) > 8
        near = cv2.dilate((mask > 0).astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
        assert changed[mask > 127].mean() > 0.5, "the polyp shows"
        assert not changed[~near].any(), "and nothing else changes"
        areas.append((mask > 127).mean())
    assert max(areas) > 1.5 * min(areas), "sizes are drawn"


def test_the_same_numbers_paste_the_same_polyp() -> None:
    source, mask = labeled()
    first, second = (
        paste_polyp(frame(2), source, mask, np.random.default_rng(5)) for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("center", "radius"),
    [((64, 64), 1), ((64, 64), 50), ((64, 12), 12), ((0, 64), 14)],
    ids=["too small", "too large", "cut off by the view", "cut off by the frame"],
)
def test_a_polyp_that_does_not_look_right_is_not_pasted(
    center: tuple[int, int], radius: int
) -> None:
    source, mask = labeled(center, radius)
    assert paste_polyp(frame(2), source, mask, np.random.default_rng(0)) is None


def test_a_black_frame_takes_no_polyp() -> None:
    source, mask = labeled()
    assert paste_polyp(np.zeros_like(source), source, mask, np.random.default_rng(0)) is None
