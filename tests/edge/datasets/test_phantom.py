"""The phantom: reproducible, varied, with exact masks, and not separable by color."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.datasets.pairs import find_pairs, read_pair
from edge.datasets.phantom import render as phantom
from edge.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (72, 96)


def test_a_seed_gives_the_same_frame_and_another_gives_another() -> None:
    first, again, other = (phantom.render(seed, size=SIZE) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_frames_are_rgb_uint8_with_a_bool_mask() -> None:
    frame = phantom.render(0, size=(50, 90))
    assert frame.image.shape == (50, 90, 3)
    assert frame.image.dtype == np.uint8
    assert frame.mask.shape == (50, 90)
    assert frame.mask.dtype == np.bool_


def test_a_polyp_covers_1_to_25_percent_and_sizes_vary() -> None:
    shares = [phantom.render(seed, size=SIZE, polyp=True).mask.mean() for seed in range(40)]
    assert min(shares) >= phantom.MIN_SHARE
    assert max(shares) <= phantom.MAX_SHARE
    assert max(shares) > 4 * min(shares)


def test_odd_shapes_of_picture_end_too() -> None:
    for size in ((32, 32), (32, 160), (160, 32)):
        assert phantom.render(5, size=size, polyp=True).mask.any()


def test_negatives_hold_none_and_the_seed_decides_otherwise() -> None:
    assert not any(phantom.render(seed, size=SIZE, polyp=False).mask.any() for seed in range(8))
    kinds = {bool(phantom.render(seed, size=SIZE).mask.any()) for seed in range(30)}
    assert kinds == {True, False}


def test_the_polyp_changes_the_picture_where_the_mask_is() -> None:
    """Without its polyp the same scene differs inside the mask and hardly elsewhere."""
    from edge.datasets.phantom.paint import paint
    from edge.datasets.phantom.scene import Pose, draw_polyp, draw_scene

    visible = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene, polyp = draw_scene(rng), draw_polyp(rng, 0.08, SIZE[1] / SIZE[0])
        without, none = paint(scene, Pose(), (), SIZE, np.random.default_rng(0))
        with_polyp, mask = paint(scene, Pose(), (polyp,), SIZE, np.random.default_rng(0))
        change = np.abs(with_polyp.astype(int) - without).mean(axis=2)
        far = cv2.dilate(mask.astype(np.uint8), np.ones((45, 45), np.uint8)) == 0
        assert not none.any()
        assert change[mask].mean() > 4 * change[far].mean()
        visible += bool(change[mask].mean() > 6)
    assert visible >= 10


def test_no_color_threshold_finds_the_polyps() -> None:
    """The best threshold on any channel or ratio, chosen with the truth, has a Dice below .5."""
    frames = [phantom.render(seed, size=SIZE, polyp=True) for seed in range(30)]
    truth = np.stack([frame.mask for frame in frames])
    pictures = np.stack([frame.image for frame in frames]).astype(np.float32) + 1
    r, g, b = (pictures[..., i] for i in range(3))
    for feature in (r, g, b, r / g, g / b, r / b, r - g, r + g + b):
        for sign in (1, -1):
            for level in np.quantile(sign * feature, np.linspace(0.3, 0.99, 15)):
                predicted = sign * feature > level
                both = (predicted & truth).sum(axis=(1, 2))
                dice = 2 * both / (predicted.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))
                assert dice.mean() < 0.5


def test_a_clip_moves_smoothly_and_its_polyp_enters_and_leaves() -> None:
    frames = list(phantom.clip(1, 60, size=SIZE))
    assert len(frames) == 60
    with_polyp = [bool(frame.mask.any()) for frame in frames]
    assert not with_polyp[0]
    assert not with_polyp[-1]
    assert 0.2 < np.mean(with_polyp) < 0.8
    assert max(frame.mask.mean() for frame in frames) > 0.01
    pictures = [frame.image.astype(np.float32) for frame in frames]
    step = np.mean([np.abs(a - b).mean() for a, b in pairwise(pictures)])
    apart = np.mean([np.abs(a - b).mean() for a, b in zip(pictures, pictures[30:], strict=False)])
    assert 0 < step < 0.6 * apart
    assert np.array_equal(frames[9].image, list(phantom.clip(1, 60, size=SIZE))[9].image)


def test_a_data_set_reads_back_with_its_counts(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    phantom.write_dataset(
        tmp_path,
        train=6,
        validation=3,
        negatives=2,
        seed=1,
        size=SIZE,
        progress=lambda a, b: calls.append((a, b)),
    )
    masks = {
        part: [read_pair(pair.image, pair.mask)[1] for pair in find_pairs(tmp_path / part)]
        for part in ("train", "validation", "negatives")
    }
    assert {part: len(files) for part, files in masks.items()} == {
        "train": 6,
        "validation": 3,
        "negatives": 2,
    }
    assert all(mask.any() for mask in masks["validation"])
    assert not any(mask.any() for mask in masks["negatives"])
    assert calls[-1] == (11, 11)
    assert not np.array_equal(masks["train"][0], masks["validation"][0])


def test_a_clip_is_written_whole(tmp_path: Path) -> None:
    shares = phantom.write_clip(tmp_path / "clip.mp4", seed=2, frames=9, size=(64, 96), fps=25)
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    assert count == len(shares) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"clip\.nope"):
        phantom.write_clip(tmp_path / "clip.nope", frames=2, size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_tiny_size_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 32x32"):
        phantom.render(0, size=(16, 64))
    with pytest.raises(UsageError, match="at least 32x32"):
        list(phantom.clip(0, 2, size=(64, 8)))
