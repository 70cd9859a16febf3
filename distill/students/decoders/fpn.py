"""Decoders `fpn`, the one of the shipped edge students, and `fpn8`, which ends at stride 8.

Every activation is ReLU6 and every skip an addition, so no concat forces two scales into one; the
2x upsampling is nearest, exact in every runtime and free of rescaling (Lin et al., FPN, CVPR 2017).
`fpn8` leaves the last fusion, which works on the largest map, out: its logits are at stride 8, so
that a small polyp covers a quarter of the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from distill.students.blocks import conv_bn_relu6, upsample
from distill.students.decoders.base import Decoded, Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fuse(nn.Module):
    """Add a skip to the upsampled coarser map and smooth the sum by a separable convolution."""

    def __init__(self, skip_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = conv_bn_relu6(skip_channels, width, 1)
        self.depthwise = conv_bn_relu6(width, width, 3, groups=width)
        self.pointwise = conv_bn_relu6(width, width, 1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, width, h, w) and (B, skip_channels, 2h, 2w) -> (B, width, 2h, 2w)."""
        fused: Tensor = self.pointwise(self.depthwise(upsample(coarse) + self.lateral(skip)))
        return fused


class Fpn8Decoder(Decoder):
    """Top-down sums of the encoder's maps down to stride 8; `high` is the map of the logits."""

    NEEDS: tuple[str, ...] = ("x8", "x16", "x32")
    FLAT = True
    STRIDE = 8
    LACKS: tuple[str, ...] = ("fuse4.",)

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__(channels, width)
        self.top = nn.Sequential(
            conv_bn_relu6(channels["x32"], width, 1), conv_bn_relu6(width, width, 5, groups=width)
        )
        self.fuse16 = Fuse(channels["x16"], width)
        self.fuse8 = Fuse(channels["x8"], width)

    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch."""
        del training
        low = self.fuse16(self.top(maps["x32"]), maps["x16"])
        high = self.fuse8(low, maps["x8"])
        return Decoded(low, high, high)


class FpnDecoder(Fpn8Decoder):
    """Top-down sums of the encoder's maps, each smoothed by a separable convolution."""

    NEEDS = ("x4", "x8", "x16", "x32")
    STRIDE = 4
    LACKS = ()

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__(channels, width)
        self.fuse4 = Fuse(channels["x4"], width)

    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch."""
        low, high, _, _ = super().forward(maps, training=training)
        return Decoded(low, high, self.fuse4(high, maps["x4"]))
