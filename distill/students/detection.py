"""A detection head beside the mask: heat map of centers, size and offset of each box.

After ECC-PolypDet (Jiang et al., 2024) and CenterNet (Zhou et al., 2019): three branches of a 3x3
convolution and a 1x1 convolution on the decoder's map at stride 4. Sizes are shares of the picture
and offsets shares of a cell, both through a sigmoid, so that each output has a fixed range of its
own: one step of 8 bits is 1/256 of the picture's side for a size, and 1/256 of a cell for an
offset. CenterNet gives both in cells, without bounds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distill.students.blocks import conv_bn_relu6
from edge.frame import PLANES

WIDTH = 32
"""Channels of each branch."""
FIRST_HEAT, FIRST_SIZE = 0.1, 0.25
"""Outputs before the training: the prior of the focal loss (Lin et al., 2017), a usual polyp."""


class BoxMaps(NamedTuple):
    """Logits of a detection head, all at stride 4.

    Attributes:
        heat: (B, 1, h, w), whether a cell holds the center of a polyp's box.
        size: (B, 2, h, w), width and height in shares of the picture.
        offset: (B, 2, h, w), column and row of the center inside its cell.
        features: (B, C, h, w), the map that the head reads.
    """

    heat: Tensor
    size: Tensor
    offset: Tensor
    features: Tensor

    def float(self) -> BoxMaps:
        """The same in float32."""
        return BoxMaps(*(value.float() for value in self))


class DetectionHead(nn.Module):
    """Heat map, size and offset from a map.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heat, self.size, self.offset = (
            nn.Sequential(conv_bn_relu6(channels, WIDTH, 3), nn.Conv2d(WIDTH, outputs, 1))
            for outputs in (1, 2, 2)
        )
        for branch, first in ((self.heat, FIRST_HEAT), (self.size, FIRST_SIZE), (self.offset, 0.5)):
            last = branch[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, math.log(first / (1 - first)))

    def forward(self, features: Tensor) -> BoxMaps:
        """(B, channels, h, w) -> logits."""
        return BoxMaps(self.heat(features), self.size(features), self.offset(features), features)


def stack_planes(logits: Tensor, boxes: BoxMaps) -> Tensor:
    """Mask, heat, width, height, column and row below one another, (B, 1, 6 h, w).

    One map keeps the contract of an engine. Every plane is a sigmoid in 1/256 of a unit of its own,
    so that no plane needs the scale of another.

    Args:
        logits: (B, 1, h, w) of the mask.
        boxes: Logits of the same size.
    """
    size, offset = (torch.split(pair, 1, dim=1) for pair in (boxes.size, boxes.offset))
    return torch.cat([logits, boxes.heat, *size, *offset], dim=2)


def split_planes(stacked: Tensor) -> tuple[Tensor, BoxMaps]:
    """Logits of the mask and of the boxes, without features, of `stack_planes`."""
    mask, heat, *pairs = torch.chunk(stacked, PLANES, dim=2)
    size, offset = torch.cat(pairs[:2], dim=1), torch.cat(pairs[2:], dim=1)
    return mask, BoxMaps(heat, size, offset, heat[:, :0])


def box_probabilities(maps: BoxMaps) -> tuple[Tensor, Tensor, Tensor]:
    """Heat (B, h, w), size (B, 2, h, w) and offset (B, 2, h, w), 0 to 1, without a gradient."""
    with torch.no_grad():
        heat = torch.sigmoid(maps.heat[:, 0])
        return heat, torch.sigmoid(maps.size), torch.sigmoid(maps.offset)
