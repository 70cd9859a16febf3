"""Self-attention whose keys are pooled: the efficient self-attention of LDNet.

Every cell of a map asks 35 tokens, the means of the map over grids of 1, 3 and 5 cells a side, and
not all other cells (Zhang et al., LDNet, MICCAI 2022). Here a map has one head, a convolution with
BatchNorm in place of LayerNorm, and no feed-forward part behind it; LDNet's cross-attention to the
lesion, whose softmax runs over a single token and is 1, is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.blocks import conv_bn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRIDS = (1, 3, 5)
"""Cells along each side of the grids that keys and values are pooled to."""
_MIN_WIDTH = 16


def pooled_tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 35), the means over the cells of each grid, row by row."""
    return torch.cat([F.adaptive_avg_pool2d(x, side).flatten(2) for side in GRIDS], dim=2)


class PooledAttention(nn.Module):
    """Residual self-attention of a map to its own pooled tokens.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = max(_MIN_WIDTH, channels // 4)
        self.query = conv_bn(channels, self.width, 1)
        self.key = nn.Conv1d(channels, self.width, 1)
        self.value = nn.Conv1d(channels, self.width, 1)
        self.project = nn.Conv2d(self.width, channels, 1)
        # The student begins almost as it would without attention.
        nn.init.normal_(self.project.weight, std=0.01)
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same shape."""
        tokens = pooled_tokens(x)
        query = self.query(x).flatten(2).transpose(1, 2)
        weights = torch.softmax(query @ self.key(tokens) / self.width**0.5, dim=2)
        attended_tokens = (weights @ self.value(tokens).transpose(1, 2)).transpose(1, 2)
        attended: Tensor = x + self.project(
            attended_tokens.unflatten(2, (x.shape[-2], x.shape[-1]))
        )
        return attended


class AttendedMaps(nn.Module):
    """Attention of each map that a decoder reads.

    Args:
        channels: Name of each map -> its channels.
        names: Names of the maps that are read.
    """

    def __init__(self, channels: Mapping[str, int], names: Sequence[str]) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: PooledAttention(channels[name]) for name in names})

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same maps, those with attention in place of their own."""
        return {**maps, **{name: attend(maps[name]) for name, attend in self.maps.items()}}
