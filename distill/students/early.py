"""Early stages that take the place of EfficientNet-Lite's own, and are made for INT8 on a CPU.

At stride 2 the original computes maps of 32 to 96 channels, partly by depthwise convolutions, which
are bound by memory. These stages reach stride 4 by few dense convolutions: more
multiplications on less memory (fused blocks, Gupta & Akin, "Accelerator-aware neural network design
using AutoML", 2020; Tan & Le, "EfficientNetV2", ICML 2021). They have no residual sums, whose exact
rounding costs as much time at stride 4 as a convolution.

They give maps of the same strides and channels as what they replace, so that later stages and the
decoder keep their weights, and start from random weights: recipe `blocks` teaches them the outputs
of the original (`distill.recipes.blocks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

Early = Literal["lite", "fused", "fused-x8", "plain", "patch"]
"""`lite` keeps the original stages."""


class Replaced(NamedTuple):
    """Consecutive stages of the original encoder that one block replaces.

    Attributes:
        first: Index of the first stage; 0 is the stem.
        end: Index behind the last one.
        names: What the names of their weights begin with, in the encoder's state dict.
    """

    first: int
    end: int
    names: tuple[str, ...]


def dense(cin: int, cout: int, kernel: int, stride: int) -> nn.Sequential:
    """Dense convolution with BatchNorm and ReLU6, from (B, cin, H, W) to H / stride.

    The padding is symmetric, as in the rest of the encoder.
    """
    padding = (kernel - stride + 1) // 2
    convolution = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(cout), nn.ReLU6(inplace=True))


def fused(cin: int, width: int, cout: int, stride: int) -> nn.Sequential:
    """A fused block: dense 3x3 expansion and linear 1x1 projection."""
    project = nn.Sequential(nn.Conv2d(width, cout, 1, bias=False), nn.BatchNorm2d(cout))
    return nn.Sequential(dense(cin, width, 3, stride), project)


def _fused(x4: int) -> list[nn.Module]:
    return [dense(3, 16, 3, 2), nn.Sequential(fused(16, 64, x4, 2), fused(x4, 72, x4, 1))]


def _plain(x4: int) -> list[nn.Module]:
    return [dense(3, 16, 3, 2), fused(16, 64, x4, 2)]


def _patch(x4: int) -> list[nn.Module]:
    return [dense(3, 32, 8, 4), fused(32, 64, x4, 1)]


_TO_X4: dict[str, Callable[[int], list[nn.Module]]] = {
    "fused": _fused,
    "fused-x8": _fused,
    "plain": _plain,
    "patch": _patch,
}
"""Name -> stem and further block up to stride 4, of the channels there."""


def replace_early(
    features: nn.Module, early: Early, channels: tuple[int, ...]
) -> tuple[Replaced, ...]:
    """Put other early stages into an EfficientNet-Lite.

    The stem and the first two groups of blocks (to stride 4) are replaced; by `fused-x8` the third
    one (to stride 8) as well. Whatever stays keeps its place and so its names in the state dict.

    Args:
        features: Result of `distill.students.efficientnet_lite.lite_features`; changed in place.
            Its first map is that of the new stem, which no decoder reads.
        early: Which stages; `lite` changes nothing.
        channels: Channels of the maps at strides 2, 4 and 8 and below.

    Returns:
        What was replaced, from the picture on; empty for `lite`.
    """
    if early == "lite":
        return ()
    _, x4, x8 = channels[:3]
    stem, block = _TO_X4[early](x4)
    features.conv_stem, features.bn1 = stem, nn.Identity()
    blocks = features.blocks
    assert isinstance(blocks, nn.Sequential)
    blocks[0], blocks[1] = nn.Identity(), block
    replaced = [Replaced(0, 3, ("conv_stem.", "bn1.", "blocks.0.", "blocks.1."))]
    if early == "fused-x8":
        blocks[2] = nn.Sequential(fused(x4, 96, x8, 2), fused(x8, 120, x8, 1))
        replaced.append(Replaced(3, 4, ("blocks.2.",)))
    return tuple(replaced)
