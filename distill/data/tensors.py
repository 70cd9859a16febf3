"""Images and masks as the tensors that students take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge.imaging.preprocess import normalize


def to_tensor(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 RGB to (B, 3, H, W) normalized float32, channels last in memory."""
    return torch.from_numpy(normalize(images)).permute(0, 3, 1, 2)


def mask_tensor(masks: np.ndarray) -> Tensor:
    """(B, H, W) uint8 coverage to (B, 1, H, W) float32, 0 to 1."""
    return torch.from_numpy(masks.astype(np.float32) / 255)[:, None]
