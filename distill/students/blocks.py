"""Layers that several students share, each exact in integers in every runtime."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(
    cin: int, cout: int, kernel: int | tuple[int, int], groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution of odd kernel with BatchNorm; the size of the map stays the same."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (height // 2), dilation * (width // 2))
    convolution = nn.Conv2d(
        cin, cout, (height, width), 1, padding, dilation, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(cout))


def conv_bn_relu6(cin: int, cout: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """`conv_bn` with ReLU6 behind it."""
    return conv_bn(cin, cout, kernel, groups).append(nn.ReLU6(inplace=True))


def upsample(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 2h, 2w), nearest."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def peak(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 1, 1), the maximum over the map.

    The published systems take the mean here. An average over an even number of cells meets ties,
    which runtimes round differently; a maximum picks a value and rounds nothing.
    """
    return F.max_pool2d(x, [x.shape[-2], x.shape[-1]])


def relu6(x: Tensor) -> Tensor:
    """ReLU6 as the exporters know it; `F.relu6` is traced as an operation of its own."""
    return F.hardtanh(x, 0.0, 6.0)


def identity_conv(channels: int) -> nn.Conv2d:
    """A fixed convolution that leaves a map as it is, and gives it quantization steps of its own.

    Sums and products round alike in every runtime only if one of their operands has a free choice
    of steps (`quantize.graph.grids`). An operand that another sum has settled takes this way.
    """
    conv = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    nn.init.ones_(conv.weight)
    conv.requires_grad_(False)
    return conv


class HardGate(nn.Module):
    """Weights between 0 and 1: the hard sigmoid `relu6(conv(x)) / 6`, in integers throughout.

    A sigmoid of ReLU6 needs no table and no float kernel. The 3 that a hard sigmoid adds is where
    the bias starts, and the sixth is a fixed 1x1 convolution, which every runtime has.

    Args:
        cin: Channels of the input.
        cout: Channels of the gate.
        kernel: Odd size of the convolution's kernel.
    """

    def __init__(self, cin: int, cout: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
        nn.init.constant_(self.conv.bias, 3.0)  # type: ignore[arg-type]
        self.sixth = nn.Conv2d(cout, cout, 1, groups=cout, bias=False)
        nn.init.constant_(self.sixth.weight, 1 / 6)
        self.sixth.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, cout, h, w) in [0, 1]."""
        gate: Tensor = self.sixth(relu6(self.conv(x)))
        return gate
