"""The embedded default teacher: EfficientNet-Lite2 with the ImageNet weights of its package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from distill.students.efficientnet_lite import lite_features
from distill.teachers.base import Teacher, resample

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 16
STAGE = 3
SHIFT = 2
"""Pixels by which the input is moved right and down, the edge repeated.

TensorFlow's padding favors the lower right. The trained kernels take most of that back: the squared
gradient of output cell i has its center of mass near input pixel 16 i + 9.7 (random weights: 16 i +
14), where the cell's own center is 16 i + 7.5.
"""


class EfficientNetLite2(Teacher):
    """The stride-16 map of EfficientNet-Lite2 (120 channels), with 16 input pixels per grid cell.

    Args:
        pretrained: Load the ImageNet weights.

    Raises:
        MissingDependencyError: The package with the weights is not installed.
    """

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__(
            "efficientnet_lite2",
            120,
            f"(x - 127) / 128, {STRIDE} pixels a cell, moved by {SHIFT}, stride 16",
        )
        self.network = lite_features("lite2", pretrained=pretrained, padding="same")
        blocks = self.network.blocks
        assert isinstance(blocks, nn.Sequential)
        self.network.blocks = blocks[:5]  # what follows makes the stride-32 map only
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 120, gh, gw) of (B, 3, H, W) uint8 RGB."""
        height, width = STRIDE * grid[0], STRIDE * grid[1]
        stretched = resample((images.float() - 127) / 128, (height, width))
        moved = F.pad(stretched, [SHIFT, 0, SHIFT, 0], mode="replicate")[..., :height, :width]
        maps: Tensor = self.network(moved)[STAGE]
        return maps
