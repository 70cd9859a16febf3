"""PraNet-V2 (Hu et al., 2025): reverse attention that learns the background as well.

Each stage has a head for the polyp and one for the background. The attention of a stage comes from
the difference of both logits of the stage before:

    polyp = P + P * attention(polyp' - background')

The paper's attention is a softmax over the classes. With the one class of polyp segmentation that
is 1 everywhere, and each stage only doubles its logits; `sigmoid` gives the attention back its
meaning. The logits are the sum of all four outputs.

The network keeps the background's logits with their sign turned, so that integers only add: a
difference becomes a sum on the grid of the logits. Upsampling and the map at stride 32 are
PraNet's. Written from the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from distill.students.base import StudentMaps
from distill.students.blocks import conv_bn, identity_conv, upsample
from distill.students.pranet import ReverseStudent, mean_of_sixteen

if TYPE_CHECKING:
    from collections.abc import Sequence

Attention = Literal["sigmoid", "softmax"]


class DualAttention(nn.Module):
    """One stage: logits of polyp and background from features, the polyp's raised by attention.

    Args:
        cin: Channels of the features.
        width: Channels of the branches.
        kernel: Odd size of the branches' kernels.
        depth: Number of convolutions of that size in a branch.
        attention: `sigmoid`, or `softmax` over the one class, which is 1.
    """

    def __init__(self, cin: int, width: int, kernel: int, depth: int, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.polyp, self.background = (_branch(cin, width, kernel, depth) for _ in range(2))
        self.carry = identity_conv(1)

    def forward(self, features: Tensor, polyp: Tensor, turned: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of the polyp; the background's, turned, are `background(features)`.

        Args:
            features: (B, cin, h, w).
            polyp: Logits (B, 1, h, w) of the stage before.
            turned: Its background's logits with the sign turned.
        """
        own = self.polyp(features)
        difference = polyp + turned
        if self.attention == "softmax":
            weights = torch.softmax(difference, dim=1)
        else:
            weights = torch.sigmoid(difference)
        raised: Tensor = own + self.carry(own) * weights
        return raised


def _branch(cin: int, width: int, kernel: int, depth: int) -> nn.Sequential:
    """1x1 to `width` channels, `depth` convolutions with ReLU, and one logit."""
    refine = [conv_bn(width, width, kernel).append(nn.ReLU(inplace=True)) for _ in range(depth)]
    return nn.Sequential(conv_bn(cin, width, 1), *refine, nn.Conv2d(width, 1, 1))


class PraNetV2(ReverseStudent):
    """PraNet-V2 with a Res2Net50-26w4s encoder; logits at an eighth of the input size.

    Args:
        pretrained: Start the encoder from timm's ImageNet weights.
        attention: `sigmoid`, or the published `softmax`, which does nothing for one class and
            cannot be exported.
        width: Channels of the receptive field blocks.
        reverse: Channels of the stages at strides 32, 16 and 8.
        base: Planes of the encoder's first stage.
        blocks: Blocks of the encoder's stages.

    Raises:
        MissingDependencyError: The encoder's weights are not on this machine and cannot be
            downloaded.
    """

    has_background = True

    def __init__(
        self,
        *,
        pretrained: bool = True,
        attention: Attention = "sigmoid",
        width: int = 32,
        reverse: tuple[int, int, int] = (256, 64, 64),
        base: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__(pretrained=pretrained, width=width, base=base, blocks=blocks)
        c8, c16, c32 = self.encoder.channels
        self.background = nn.Conv2d(3 * width, 1, 1)
        self.shrink, self.shrink_background = mean_of_sixteen(), mean_of_sixteen()
        self.stage32 = DualAttention(c32, reverse[0], 5, 3, attention)
        self.stage16 = DualAttention(c16, reverse[1], 3, 2, attention)
        self.stage8 = DualAttention(c8, reverse[2], 3, 2, attention)

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits (B, 1, H/8, W/8), maps at 1/16 and 1/8, both classes at 1/8, 1/32, 1/16, 1/8."""
        f8, low, high, polyps, turned = self._run(x)
        background = tuple(-logits for logits in (*turned, self.stage8.background(f8)))
        return StudentMaps(_total(polyps), low, high, polyps, background=background)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H/8, W/8): the sum of the polyp's four outputs."""
        return _total(self._run(x)[3])

    def _run(
        self, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Features at 1/8, both maps, the polyp's logits, and of the background what they need."""
        (f8, f16, f32), low, high, coarse = self.decode(x)
        turned = self.background(high)
        p32 = self.stage32(f32, self.shrink(coarse), self.shrink_background(turned))
        b32 = self.stage32.background(f32)
        p16 = self.stage16(f16, upsample(p32), upsample(b32))
        b16 = self.stage16.background(f16)
        p8 = self.stage8(f8, upsample(p16), upsample(b16))
        return f8, low, high, (coarse, p32, p16, p8), (turned, b32, b16)


def _total(polyps: tuple[Tensor, ...]) -> Tensor:
    """Sum of the logits at strides 8, 32, 16 and 8, at stride 8."""
    coarse, p32, p16, p8 = polyps
    return coarse + upsample(upsample(p32)) + upsample(p16) + p8
