"""A network that suits a processor best: dense convolutions of many channels on a small map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from distill.students.build import Student, StudentMaps

if TYPE_CHECKING:
    from torch import Tensor


class DenseStack(Student):
    """3x3 convolutions of 256 channels at stride 8, between a patch embedding and a head.

    Args:
        channels: Channels of every convolution.
        depth: Number of convolutions.
    """

    stride = divisor = 8

    def __init__(self, channels: int = 256, depth: int = 8) -> None:
        super().__init__()
        self.low_channels = self.high_channels = channels
        self.patches = nn.Sequential(nn.Conv2d(3, channels, 8, 8), nn.ReLU())
        layers = [
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
            for _ in range(depth)
        ]
        self.stack = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        """Return logits (B, 1, H/8, W/8) and the stack's map twice."""
        features = self.stack(self.patches(x))
        return StudentMaps(self.head(features), features, features)
