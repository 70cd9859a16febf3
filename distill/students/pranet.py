"""PraNet (Fan et al., MICCAI 2020): a coarse map, refined by reverse attention.

Written from the paper; the receptive field block and the partial decoder are those of Wu et al.,
CVPR 2019. Where they interpolate, this student takes operations that every runtime computes alike:
2x nearest upsampling, and a fixed 4x4 mean for the coarse map at stride 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.blocks import conv_bn, upsample
from distill.students.res2net import Res2Net

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReceptiveField(nn.Module):
    """Receptive field block: joined branches of growing kernel and dilation, and a shortcut."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_bn(cin, width, 1)])
        self.branches.extend(
            nn.Sequential(
                conv_bn(cin, width, 1),
                conv_bn(width, width, (1, span)),
                conv_bn(width, width, (span, 1)),
                conv_bn(width, width, 3, dilation=span),
            )
            for span in (3, 5, 7)
        )
        self.join = conv_bn(4 * width, width, 3)
        self.shortcut = conv_bn(cin, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, width, h, w)."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return torch.relu(joined + self.shortcut(x))


class PartialDecoder(nn.Module):
    """Maps at strides 8, 16 and 32, gated by products with the deeper ones and joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate16, self.gate8_deep, self.gate8 = (conv_bn(width, width, 3) for _ in range(3))
        self.rise16, self.rise8 = conv_bn(width, width, 3), conv_bn(2 * width, 2 * width, 3)
        self.join16, self.join8 = (
            conv_bn(2 * width, 2 * width, 3),
            conv_bn(3 * width, 3 * width, 3),
        )
        self.smooth = conv_bn(3 * width, 3 * width, 3)
        self.head = nn.Conv2d(3 * width, 1, 1)

    def forward(self, r8: Tensor, r16: Tensor, r32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return map (2 width) at 1/16, map (3 width) at 1/8 and coarse logits at 1/8."""
        deep = upsample(r32)
        gated16 = self.gate16(deep) * r16
        gated8 = self.gate8_deep(upsample(deep)) * self.gate8(upsample(r16)) * r8
        low = self.join16(torch.cat([gated16, self.rise16(deep)], dim=1))
        high = self.smooth(self.join8(torch.cat([gated8, self.rise8(upsample(low))], dim=1)))
        return low, high, self.head(high)


class ReverseAttention(nn.Module):
    """Refine coarser logits as `coarse + branch(features * (1 - sigmoid(coarse)))`."""

    def __init__(self, cin: int, width: int, kernel: int, depth: int, last: int) -> None:
        super().__init__()
        refine = [
            nn.Sequential(conv_bn(width, width, kernel), nn.ReLU(inplace=True))
            for _ in range(depth)
        ]
        self.branch = nn.Sequential(conv_bn(cin, width, 1), *refine, conv_bn(width, 1, last))

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """(B, cin, h, w) and logits (B, 1, h, w) -> logits (B, 1, h, w)."""
        refined: Tensor = self.branch(features * (1 - torch.sigmoid(coarse)))
        return refined + coarse


class ReverseStudent(Student):
    """Encoder, receptive field blocks and partial decoder, which reverse attention refines.

    Args:
        pretrained: Start the encoder from timm's ImageNet weights.
        width: Channels of the receptive field blocks.
        base: Planes of the encoder's first stage.
        blocks: Blocks of the encoder's stages.
    """

    stride = 8
    divisor = 32

    def __init__(self, *, pretrained: bool, width: int, base: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.low_channels, self.high_channels = 2 * width, 3 * width
        self.encoder = Res2Net(pretrained=pretrained, base=base, blocks=blocks)
        self.fields = nn.ModuleList(ReceptiveField(cin, width) for cin in self.encoder.channels)
        self.decoder = PartialDecoder(width)

    def decode(self, x: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Features at 1/8, 1/16 and 1/32, map at 1/16, map and coarse logits at 1/8."""
        features = self.encoder(x)
        fields = [field(feature) for field, feature in zip(self.fields, features, strict=True)]
        return features, *self.decoder(*fields)


def mean_of_sixteen() -> nn.Conv2d:
    """Return a fixed 4x4 mean of one map, at a quarter of its size."""
    shrink = nn.Conv2d(1, 1, 4, stride=4, bias=False)
    nn.init.constant_(shrink.weight, 1 / 16)
    return shrink.requires_grad_(False)


class PraNet(ReverseStudent):
    """PraNet with a Res2Net50-26w4s encoder; logits at an eighth of the input size.

    Args:
        pretrained: Start the encoder from timm's ImageNet weights.
        width: Channels of the receptive field blocks.
        reverse: Channels of the reverse attention at strides 32, 16 and 8.
        base: Planes of the encoder's first stage.
        blocks: Blocks of the encoder's stages.

    Raises:
        MissingDependencyError: The encoder's weights are not on this machine and cannot be
            downloaded.
    """

    def __init__(
        self,
        *,
        pretrained: bool = True,
        width: int = 32,
        reverse: tuple[int, int, int] = (256, 64, 64),
        base: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__(pretrained=pretrained, width=width, base=base, blocks=blocks)
        c8, c16, c32 = self.encoder.channels
        self.shrink = mean_of_sixteen()
        self.reverse32 = ReverseAttention(c32, reverse[0], kernel=5, depth=3, last=1)
        self.reverse16 = ReverseAttention(c16, reverse[1], kernel=3, depth=2, last=3)
        self.reverse8 = ReverseAttention(c8, reverse[2], kernel=3, depth=2, last=3)

    def maps(self, x: Tensor) -> StudentMaps:
        """Return logits (B, 1, H/8, W/8), low map at 1/16, high map at 1/8 and auxiliary logits.

        The auxiliary logits are at 1/8 (coarse), 1/32 and 1/16.
        """
        (f8, f16, f32), low, high, coarse = self.decode(x)
        s32 = self.reverse32(f32, self.shrink(coarse))
        s16 = self.reverse16(f16, upsample(s32))
        return StudentMaps(self.reverse8(f8, upsample(s16)), low, high, (coarse, s32, s16))
