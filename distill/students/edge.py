"""`edge-s`, `edge-xs` and `edge-l`: an EfficientNet-Lite encoder and a decoder made for INT8.

Every activation is ReLU6 and every skip an addition, so no concat forces two scales into one; the
2x upsampling is nearest, exact in every runtime and free of rescaling; squeeze-and-excite, swish
and hard-swish are absent (method: Tan & Liu, EfficientNet-Lite, 2020; Lin et al., FPN, CVPR 2017).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.efficientnet_lite import Variant, lite_features, lite_stages

CHANNELS: dict[Variant, tuple[int, int, int, int, int]] = {
    "lite0": (16, 24, 40, 112, 320),
    "lite2": (16, 24, 48, 120, 352),
}
"""Channels of the encoders' maps at strides 2, 4, 8, 16 and 32."""


def _conv_bn_relu6(
    cin: int, cout: int, kernel: int, groups: int = 1, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU6(inplace=True),
    )


class Fuse(nn.Module):
    """Add a skip to the upsampled coarser map and smooth the sum by a separable convolution."""

    def __init__(self, skip_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = _conv_bn_relu6(skip_channels, width, 1)
        self.depthwise = _conv_bn_relu6(width, width, 3, groups=width)
        self.pointwise = _conv_bn_relu6(width, width, 1)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, width, h, w) and (B, skip_channels, 2h, 2w) -> (B, width, 2h, 2w)."""
        upsampled = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        fused: Tensor = self.pointwise(self.depthwise(upsampled + self.lateral(skip)))
        return fused


class Presence(nn.Module):
    """One logit of the whole picture, "is there a polyp", from the deepest map.

    A student that judges each pixel from its surroundings alone calls a fold or a bubble a polyp;
    this logit is added to every pixel's, so that the engine keeps its one score map. The maximum
    over the map picks values and rounds nothing, so it is exact in every runtime.

    Args:
        channels: Channels of the deepest map.
        width: Number of features.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.features = _conv_bn_relu6(channels, width, 1)
        self.head = nn.Conv2d(width, 1, 1)
        # Near zero: a student that is shown no clean frame learns as if there were no such logit.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, deepest: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 1, 1, 1)."""
        features: Tensor = self.features(deepest)
        logit: Tensor = self.head(F.max_pool2d(features, [features.shape[-2], features.shape[-1]]))
        return logit


class EdgeS(Student):
    """Edge student with an EfficientNet-Lite encoder; logits at a quarter of the input size.

    Args:
        pretrained: Start the encoder from ImageNet weights.
        width: Channels of the decoder.
        variant: The encoder: `lite0` makes it `edge-s`; `lite2` with a width of 96 `edge-l`, a task
            teacher.
    """

    stride = 4
    divisor = 32

    def __init__(
        self, *, pretrained: bool = True, width: int = 48, variant: Variant = "lite0"
    ) -> None:
        super().__init__()
        self.low_channels = self.high_channels = width
        self.encoder = lite_features(variant, pretrained=pretrained, padding="symmetric")
        _, c4, c8, c16, c32 = CHANNELS[variant]
        self.top = nn.Sequential(
            _conv_bn_relu6(c32, width, 1), _conv_bn_relu6(width, width, 5, groups=width)
        )
        self.fuse16 = Fuse(c16, width)
        self.fuse8 = Fuse(c8, width)
        self.fuse4 = Fuse(c4, width)
        self.head = nn.Conv2d(width, 1, 1)
        self.presence = Presence(c32)

    def logit_layers(self) -> list[nn.Conv2d]:
        """The pixels' and the presence logit's last layers."""
        return [self.head, self.presence.head]

    def stages(self) -> list[nn.Module]:
        """The encoder's stem and groups of blocks."""
        return lite_stages(self.encoder)

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits (B, 1, H/4, W/4), low map at 1/16 and high map at 1/8."""
        _, f4, f8, f16, f32 = self.encoder(x)
        low = self.fuse16(self.top(f32), f16)
        high = self.fuse8(low, f8)
        presence = self.presence(f32)
        logits = self.head(self.fuse4(high, f4)) + presence
        return StudentMaps(logits, low, high, presence=presence)


class CutLite(nn.Module):
    """EfficientNet-Lite0 up to the first block at stride 32, without the last 3/4 of its weights.

    Args:
        pretrained: Start from ImageNet weights.
    """

    CHANNELS = (16, 24, 40, 112, 192)
    """Channels of the encoder's maps at strides 2, 4, 8, 16 and 32."""

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.features = lite_features("lite0", pretrained=pretrained, padding="symmetric")
        blocks = self.features.blocks
        assert isinstance(blocks, nn.Sequential)
        deep = blocks[5]
        assert isinstance(deep, nn.Sequential)
        self.features.blocks, self.last = blocks[:5], deep[:1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the maps at strides 2 to 32."""
        maps: list[Tensor] = self.features(x)
        return [*maps, self.last(maps[-1])]


class EdgeXS(Student):
    """The smaller edge student: encoder up to the first block at stride 32, logits at a quarter.

    Args:
        pretrained: Start the encoder from ImageNet weights.
        width: Channels of the decoder.
    """

    stride = 4
    divisor = 32

    def __init__(self, *, pretrained: bool = True, width: int = 32) -> None:
        super().__init__()
        self.low_channels = self.high_channels = width
        self.encoder = CutLite(pretrained=pretrained)
        _, c4, c8, c16, c32 = CutLite.CHANNELS
        self.top = nn.Sequential(
            _conv_bn_relu6(c32, width, 1), _conv_bn_relu6(width, width, 5, groups=width)
        )
        self.fuse16 = Fuse(c16, width)
        self.fuse8 = Fuse(c8, width)
        self.fuse4 = Fuse(c4, width)
        self.head = nn.Conv2d(width, 1, 1)
        self.presence = Presence(c32)

    def logit_layers(self) -> list[nn.Conv2d]:
        """The pixels' and the presence logit's last layers."""
        return [self.head, self.presence.head]

    def stages(self) -> list[nn.Module]:
        """The encoder's stem and groups of blocks."""
        return [*lite_stages(self.encoder.features), self.encoder.last]

    def maps(self, x: Tensor) -> StudentMaps:
        """Logits (B, 1, H/4, W/4), low map at 1/16 and high map at 1/8."""
        _, f4, f8, f16, f32 = self.encoder(x)
        low = self.fuse16(self.top(f32), f16)
        high = self.fuse8(low, f8)
        presence = self.presence(f32)
        logits = self.head(self.fuse4(high, f4)) + presence
        return StudentMaps(logits, low, high, presence=presence)
