"""Decoder `pld`: progressive locality decoder of SSFormer (Wang et al., MICCAI 2022).

Local emphasis: two 3x3 convolutions bring each map of the encoder to one width. Stepwise fusion:
from the deepest map on, concat and a 1x1 convolution join the next finer one. The paper upsamples
every map to stride 4 before it joins them. A 1x1 convolution commutes with nearest upsampling, so
joining at the finer map's own stride gives the same numbers at a fraction of the cost. Upsampling
is nearest and not bilinear, and activations are ReLU6, so that both sides of a concat have a range
in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.students.blocks import conv_bn_relu6, upsample
from distill.students.decoders.base import Decoded, Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping


def local_emphasis(cin: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions to `width` channels."""
    return nn.Sequential(conv_bn_relu6(cin, width, 3), conv_bn_relu6(width, width, 3))


class PldDecoder(Decoder):
    """Local emphasis of each map, and stepwise fusion from the deepest on."""

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__(channels, width)
        self.emphasis = nn.ModuleDict(
            {name: local_emphasis(channels[name], width) for name in self.NEEDS}
        )
        self.fusion = nn.ModuleDict(
            {name: conv_bn_relu6(2 * width, width, 1) for name in self.NEEDS[:-1]}
        )

    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch."""
        del training
        low = self._fuse("x16", self.emphasis["x32"](maps["x32"]), maps)
        high = self._fuse("x8", low, maps)
        return Decoded(low, high, self._fuse("x4", high, maps))

    def _fuse(self, name: str, coarse: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        joined = torch.cat([upsample(coarse), self.emphasis[name](maps[name])], dim=1)
        fused: Tensor = self.fusion[name](joined)
        return fused
