"""Augmentation as a function of (seed, epoch, sample), so that a resumed run sees the same images.

The geometric part is one affine map in normalized coordinates (-1 to 1 over the frame, cell edges
at the ends). Image, mask and cached teacher map are resampled through the same map with the same
reflection at the border, so a teacher runs once per image, however many views training draws from
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from edge.datasets.negatives import polyp_free_window

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def sample_rng(seed: int, epoch: int, index: int, *again: int) -> np.random.Generator:
    """Random numbers of one sample in one epoch, or of one of its further views (`again`)."""
    return np.random.default_rng([seed, epoch, index, *again])


def random_affine(rng: np.random.Generator, zoom: tuple[float, float]) -> NDArray[np.float64]:
    """(2, 3) map from output to input coordinates: rotation, scale, shift, flips.

    Args:
        rng: Random numbers of this sample.
        zoom: Smallest and largest share of the image that is visible along each axis; beyond 1 the
            image is continued by its reflection.
    """
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else rng.uniform(-0.3, 0.3)
    reach = np.exp(rng.uniform(*np.log(zoom)))
    stretch = np.exp(rng.uniform(-0.1, 0.1, size=2))
    flip = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(reach * stretch * flip)
    return np.concatenate([linear, rng.uniform(-0.12, 0.12, size=(2, 1))], axis=1)


def polyp_free_affine(
    mask: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """(2, 3) map onto a part of the image without a polyp: a hard negative from a labeled frame.

    Args:
        mask: (H, W) uint8 mask of the whole image.
        rng: Random numbers of this sample.

    Returns:
        A map from output to input coordinates, or None if a few tries found no such part.
    """
    window = polyp_free_window(mask, rng)
    if window is None:
        return None
    return np.column_stack([np.diag(window.reach * rng.choice([-1.0, 1.0], 2)), window.center])


def warp(image: NDArray[np.uint8], theta: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Resample an image or mask through a normalized affine map.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        theta: (2, 3) from output to input, as for `torch.nn.functional.affine_grid` with
            align_corners=False.
    """
    H, W = image.shape[:2]
    to_normal = np.array([[2 / W, 0, 1 / W - 1], [0, 2 / H, 1 / H - 1], [0, 0, 1]])
    pixels = np.linalg.inv(to_normal) @ np.vstack([theta, [0, 0, 1]]) @ to_normal
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: NDArray[np.uint8] = cv2.warpAffine(
        image, pixels[:2], (W, H), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return warped


def warp_maps(maps: Tensor, thetas: Tensor) -> Tensor:
    """Replay the geometric part on teacher maps.

    Args:
        maps: (B, C, h, w) float32.
        thetas: (B, 2, 3) float32, one map per sample.

    Returns:
        (B, C, h, w).
    """
    grid = F.affine_grid(thetas, list(maps.shape), align_corners=False)
    return F.grid_sample(
        maps, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def photometric(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, contrast, color cast, saturation, blur and noise.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: Random numbers of this sample.
    """
    ramp = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.uniform(-0.35, 0.35))
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, size=3)
    table = np.clip(ramp[:, None] ** gamma * gain + rng.uniform(-0.06, 0.06), 0, 1) * 255
    image = cv2.LUT(image, table[None].astype(np.uint8))
    gray = np.array([0.299, 0.587, 0.114])
    keep = rng.uniform(0.7, 1.3)
    image = cv2.transform(image, keep * np.eye(3) + (1 - keep) * np.tile(gray, (3, 1)))
    draw = rng.random()
    if draw < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    elif draw < 0.3:
        noise = rng.normal(0, rng.uniform(2, 8), size=image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def theta_batch(thetas: list[NDArray[np.float64]]) -> Tensor:
    """(B, 2, 3) float32 tensor of the affine maps of a batch."""
    return torch.from_numpy(np.stack(thetas).astype(np.float32))
