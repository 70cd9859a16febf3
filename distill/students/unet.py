"""The classic U-Net (Ronneberger et al., MICCAI 2015) with batch normalization and same padding.

Its 2x2 transposed convolution is written as a 1x1 convolution and a pixel shuffle: the same
function with the same number of parameters, but one that every INT8 runtime executes in integers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps


def double_conv(cin: int, cout: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
        nn.Conv2d(cout, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class UNet(Student):
    """U-Net with five levels; logits at the input size.

    Args:
        width: Channels of the first level: 64 is the classic network (31 M parameters), 32 has 7.8
            M.
    """

    stride = 1
    divisor = 16

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(5)]
        self.low_channels, self.high_channels = channels[4], channels[3]
        self.down = nn.ModuleList(
            double_conv(cin, cout) for cin, cout in zip([3, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * c, 4 * c, 1), nn.PixelShuffle(2))
            for c in reversed(channels[:4])
        )
        self.merge = nn.ModuleList(double_conv(2 * c, c) for c in reversed(channels[:4]))
        self.head = nn.Conv2d(width, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits (B, 1, H, W), low map at 1/16 (the bottleneck) and high map at 1/8."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        low = skips.pop()
        path: list[Tensor] = []
        x = low
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
            path.append(x)
        return StudentMaps(self.head(x), low, path[0])
