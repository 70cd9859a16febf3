"""Decoder `rpca`: unrolled robust PCA splits a map into background and object.

Robust PCA writes a picture as D = B + T, background of low rank plus sparse object, and alternates
between the two. RPCANet++ (Wu et al., 2025) unrolls K rounds into a network on a gray picture at
full size, for infrared targets. Here a round works on a few channels at stride 4. With U = -T, so
that integers only add:

    background  P = prox(D + U)             B = D + U + P
    object      V = U + P (that is B - D)   U' = V + shrink(V * gate(V, its local mean))
    rebuilt     D' = rebuild(B, U')

The paper's object step reads the contrast to the surroundings; the gate reads a map and its mean
over 17x17 cells side by side, whose difference is one of the mixtures that it can learn. Background
convolutions keep no state from round to round, unlike the paper's ConvLSTM. No result on polyps is
published; ours are in docs/results.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.blocks import (
    HardGate,
    conv_bn,
    conv_bn_relu6,
    identity_conv,
    relu6,
    upsample,
)
from distill.students.decoders.base import Decoded, Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS = 3
WIDTH = 16
"""Channels of the maps that are split; a student's own width is not used."""
_NEAR = 17
"""Side of the surroundings, cells."""


def local_mean(x: Tensor) -> Tensor:
    """Mean over 17x17 cells, zeros beyond the border, along one axis after the other."""
    half = _NEAR // 2
    rows = F.avg_pool2d(x, (_NEAR, 1), stride=1, padding=(half, 0))
    return F.avg_pool2d(rows, (1, _NEAR), stride=1, padding=(0, half))


class Round(nn.Module):
    """One round of background and object; all maps are (B, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.prox = nn.Sequential(conv_bn_relu6(width, width, 3), conv_bn(width, width, 1))
        self.carry = identity_conv(width)
        self.gate = HardGate(2 * width, width)
        self.shrink = conv_bn(width, width, 3)

    def forward(self, picture: Tensor, negative: Tensor | None) -> tuple[Tensor, Tensor]:
        """D and U -> B and U'; None for U is zero."""
        rest = picture if negative is None else picture + negative
        removed = self.prox(rest)
        objects = removed if negative is None else negative + removed
        weights = self.gate(torch.cat([objects, local_mean(objects)], dim=1))
        return rest + self.carry(removed), objects + self.shrink(objects * weights)


class Rebuild(nn.Module):
    """The next picture from background and object."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.background, self.object = conv_bn(width, width, 3), conv_bn(width, width, 3)
        self.join = conv_bn(width, width, 1)

    def forward(self, background: Tensor, negative: Tensor) -> Tensor:
        """B and U' (B, width, h, w) -> D' of the same shape."""
        joined: Tensor = self.join(relu6(self.background(background) + self.object(negative)))
        return joined


class RpcaDecoder(Decoder):
    """A narrow sum of the encoder's maps at stride 4, and `ROUNDS` rounds on it."""

    def __init__(self, channels: Mapping[str, int], width: int = WIDTH) -> None:
        del width
        super().__init__(channels, WIDTH)
        self.lateral = nn.ModuleDict(
            {name: conv_bn_relu6(channels[name], WIDTH, 1) for name in self.NEEDS}
        )
        self.rounds = nn.ModuleList(Round(WIDTH) for _ in range(ROUNDS))
        self.rebuild = nn.ModuleList(Rebuild(WIDTH) for _ in range(ROUNDS))

    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch; the last picture is rebuilt for training alone."""
        low, high, original = self._pictures(maps)
        picture = original
        negative: Tensor | None = None
        for number, step in enumerate(self.rounds, 1):
            background, negative = step(picture, negative)
            if number < ROUNDS or training:
                picture = self.rebuild[number - 1](background, negative)
        assert negative is not None
        distance = F.mse_loss(picture, original.detach()) if training else None
        return Decoded(low, high, negative, distance)

    def decompose(self, maps: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Background B and object T = -U' of each round, (B, width, H / 4, W / 4) each."""
        picture = self._pictures(maps)[2]
        negative: Tensor | None = None
        rounds = []
        for step, rebuild in zip(self.rounds, self.rebuild, strict=True):
            background, negative = step(picture, negative)
            assert negative is not None
            rounds.append((background, -negative))
            picture = rebuild(background, negative)
        return rounds

    def _pictures(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of the encoder's maps at strides 16, 8 and 4."""
        x4, x8, x16, x32 = (self.lateral[name](maps[name]) for name in self.NEEDS)
        low = upsample(x32) + x16
        high = upsample(low) + x8
        return low, high, upsample(high) + x4
