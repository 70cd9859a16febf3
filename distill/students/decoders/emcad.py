"""Decoder `emcad`: multi-scale depthwise convolutions, attention and gated skips.

Written from Rahman et al., EMCAD, CVPR 2024, in a form that is exact in INT8:

* Gates are hard sigmoids instead of sigmoids, so that no operation stays in float.
* Channel attention reads the maximum of each channel and leaves the mean out.
* Spatial attention reads two learned mixtures of the channels instead of their mean and maximum.
  The first starts as the mean.
* Skips are gated and then brought to the decoder's width; the shuffle before a dense 1x1
  convolution, which only renames its channels, is left out, and so are the published loss over
  combinations of outputs and grouped convolutions that are not depthwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from distill.students.blocks import HardGate, conv_bn, conv_bn_relu6, peak, relu6, upsample
from distill.students.decoders.base import Decoded, Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

KERNELS = (1, 3, 5)
"""Kernels of the depthwise convolutions."""
_EXPANSION = 2
_REDUCTION = 4


class ChannelAttention(nn.Module):
    """Weigh each channel by what its maximum, among those of all channels, says."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(1, width // _REDUCTION)
        self.squeeze = nn.Conv2d(width, hidden, 1)
        self.gate = HardGate(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        weights: Tensor = self.gate(relu6(self.squeeze(peak(x))))
        return x * weights


class SpatialAttention(nn.Module):
    """Weigh each cell by a 7x7 neighborhood of two mixtures of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, 2, 1, bias=False)
        nn.init.constant_(self.mix.weight[0], 1 / width)
        self.gate = HardGate(2, 1, kernel=7)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        weights: Tensor = self.gate(self.mix(x))
        return x * weights


class MultiScale(nn.Module):
    """Residual block: wider, depthwise at three kernels, summed, and narrow again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = _EXPANSION * width
        self.expand = conv_bn_relu6(width, wide, 1)
        self.depthwise = nn.ModuleList(conv_bn_relu6(wide, wide, k, groups=wide) for k in KERNELS)
        self.project = conv_bn(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        wide = self.expand(x)
        first, second, third = (branch(wide) for branch in self.depthwise)
        projected: Tensor = self.project(first + second + third)
        return x + projected


class GatedSkip(nn.Module):
    """Weigh each cell of a skip by what it and the coarser map say together."""

    def __init__(self, skip_channels: int, width: int) -> None:
        super().__init__()
        hidden = max(1, width // 2)
        self.coarse = nn.Sequential(
            conv_bn_relu6(width, width, 3, groups=width), conv_bn(width, hidden, 1)
        )
        self.skip = nn.Sequential(
            conv_bn_relu6(skip_channels, skip_channels, 3, groups=skip_channels),
            conv_bn(skip_channels, hidden, 1),
        )
        self.gate = HardGate(hidden, 1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, width, h, w) and (B, skip_channels, h, w) -> (B, skip_channels, h, w)."""
        weights: Tensor = self.gate(relu6(self.coarse(coarse) + self.skip(skip)))
        return skip * weights


class Step(nn.Module):
    """One halving of the stride: upsample, add the gated skip, attend and look at three scales."""

    def __init__(self, skip_channels: int, width: int) -> None:
        super().__init__()
        self.rise = nn.Sequential(
            conv_bn_relu6(width, width, 3, groups=width), conv_bn(width, width, 1)
        )
        self.gated = GatedSkip(skip_channels, width)
        self.lateral = conv_bn(skip_channels, width, 1)
        self.attend = attention(width)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, width, h, w) and (B, skip_channels, 2h, 2w) -> (B, width, 2h, 2w)."""
        risen = self.rise(upsample(coarse))
        attended: Tensor = self.attend(risen + self.lateral(self.gated(risen, skip)))
        return attended


def attention(width: int) -> nn.Sequential:
    """Multi-scale convolutional attention: channels, then cells, then three kernels."""
    return nn.Sequential(ChannelAttention(width), SpatialAttention(width), MultiScale(width))


class EmcadDecoder(Decoder):
    """Multi-scale attention at each stride, from the deepest map up."""

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__(channels, width)
        self.top = nn.Sequential(conv_bn(channels["x32"], width, 1), attention(width))
        self.step16, self.step8, self.step4 = (
            Step(channels[name], width) for name in ("x16", "x8", "x4")
        )

    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch."""
        del training
        low = self.step16(self.top(maps["x32"]), maps["x16"])
        high = self.step8(low, maps["x8"])
        return Decoded(low, high, self.step4(high, maps["x4"]))
