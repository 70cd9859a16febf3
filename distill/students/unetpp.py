"""U-Net++ (Zhou et al., DLMIA 2018): nested skips and deep supervision.

Node (i, j) of level i sees all nodes (i, 0) .. (i, j - 1) and node (i + 1, j - 1), upsampled. The
upsampling is nearest and without weights, exact in every runtime.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.unet import double_conv

_LEVELS = 5


class UNetPP(Student):
    """U-Net++ with five levels; logits at the input size, those of node (0, 4).

    Args:
        width: Channels of the first level: 32 is the usual network of 32 to 512 channels (9.2 M
            parameters).
    """

    stride = 1
    divisor = 16

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(_LEVELS)]
        self.low_channels, self.high_channels = channels[4], channels[3]
        self.pool = nn.MaxPool2d(2)
        self.nodes = nn.ModuleDict()
        for i, cin in enumerate([3, *channels[:-1]]):
            self.nodes[f"{i}_0"] = double_conv(cin, channels[i])
        for j in range(1, _LEVELS):
            for i in range(_LEVELS - j):
                self.nodes[f"{i}_{j}"] = double_conv(j * channels[i] + channels[i + 1], channels[i])
        self.head = nn.Conv2d(width, 1, 1)
        self.auxiliary_heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in range(1, _LEVELS - 1))

    def maps(self, x: Tensor) -> StudentMaps:
        """Return logits (B, 1, H, W), the maps and the auxiliary logits.

        The low map is at 1/16 (the bottleneck), the high map at 1/8; the auxiliary logits are those
        of the nodes (0, 1..3).
        """
        columns = self._columns(x)
        auxiliary = tuple(
            head(column[0])
            for head, column in zip(self.auxiliary_heads, columns[1:-1], strict=True)
        )
        return StudentMaps(self.head(columns[-1][0]), columns[0][4], columns[1][3], auxiliary)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H, W), without the auxiliary heads."""
        logits: Tensor = self.head(self._columns(x)[-1][0])
        return logits

    def _columns(self, x: Tensor) -> list[list[Tensor]]:
        """Node (i, j) at `[j][i]`."""
        columns: list[list[Tensor]] = [[]]
        for i in range(_LEVELS):
            x = self.nodes[f"{i}_0"](x if i == 0 else self.pool(x))
            columns[0].append(x)
        for j in range(1, _LEVELS):
            columns.append([])
            for i in range(_LEVELS - j):
                below = F.interpolate(columns[j - 1][i + 1], scale_factor=2.0, mode="nearest")
                joined = torch.cat([*(column[i] for column in columns[:j]), below], dim=1)
                columns[j].append(self.nodes[f"{i}_{j}"](joined))
        return columns
