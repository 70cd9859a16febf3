"""A small convolutional branch that reads the picture a second time, beside a coarse encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from distill.students.blocks import conv_bn_relu6

if TYPE_CHECKING:
    from torch import Tensor

BRANCH = (16, 32, 64, 96)
"""Channels of the branch at strides 2, 4, 8 and 16."""


class Branch(nn.Module):
    """Maps at strides 4, 8 and 16, from strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(cin, cout, 3, 2, 1, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU6(inplace=True),
                conv_bn_relu6(cout, cout, 3),
            )
            for cin, cout in zip((3, *BRANCH), BRANCH, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> maps at strides 4, 8 and 16."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1], maps[2], maps[3]
