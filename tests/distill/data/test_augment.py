from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from distill.data.augment import (
    photometric,
    random_affine,
    sample_rng,
    theta_batch,
    warp,
    warp_maps,
)


def smooth_picture(size: int, seed: int = 0) -> np.ndarray:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    picture = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(
        0, 1
    )
    return (picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def test_image_and_teacher_map_move_together() -> None:
    """The image is warped by cv2, the map by torch: both must be the same motion."""
    picture = smooth_picture(64)
    for index in range(12):
        theta = random_affine(sample_rng(1, 2, index), (0.75, 1.25))
        by_cv2 = warp(picture, theta).astype(np.float32)
        as_map = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        by_torch = warp_maps(as_map, theta_batch([theta]))[0].permute(1, 2, 0).numpy()
        assert np.abs(by_cv2 - by_torch).mean() < 1.5


def test_a_coarse_map_follows_the_image() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[40:56, 8:24] = 255
    theta = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    moved = warp(picture, theta)[..., 0]
    coarse = torch.from_numpy(picture[..., 0].reshape(8, 8, 8, 8).mean(axis=(1, 3)))[
        None, None
    ].float()
    expected = moved.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(
        warp_maps(coarse, theta_batch([theta]))[0, 0].numpy(), expected, atol=2
    )


def test_the_same_sample_of_an_epoch_is_always_drawn_the_same() -> None:
    picture = smooth_picture(32)
    first, again = (photometric(picture, sample_rng(3, 1, 7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, photometric(picture, sample_rng(3, 2, 7)))


def test_photometric_changes_keep_the_format() -> None:
    picture = smooth_picture(32)
    for index in range(40):
        changed = photometric(picture, sample_rng(0, 0, index))
        assert changed.dtype == np.uint8
        assert changed.shape == picture.shape
