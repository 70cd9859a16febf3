"""Res2Net50-26w4s, the encoder of PraNet (Gao et al., TPAMI 2021).

A bottleneck whose 3x3 convolution is a ladder: the channels are split into four, each quarter is
convolved after the result of the quarter before has been added to it, and the last is passed on.
Parameters are named as timm names them, so that its ImageNet weights fit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import timm
import torch
from torch import Tensor, nn

from edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS = "res2net50_26w_4s"
"""timm's name of the ImageNet weights."""
EXPANSION = 4
_SCALES = 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the images in [0, 1] that the weights were trained with."""


class Bottle2neck(nn.Module):
    """Residual block with a ladder of three 3x3 convolutions.

    Args:
        cin: Channels of the input.
        planes: A quarter of the channels of the output.
        stride: Stride of the 3x3 convolutions; the first block of a stage has no ladder and pools
            the last quarter.
    """

    def __init__(self, cin: int, planes: int, stride: int = 1, *, first: bool = False) -> None:
        super().__init__()
        self.width = planes * 26 // 64
        self.conv1 = nn.Conv2d(cin, self.width * _SCALES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.width * _SCALES)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, stride, padding=1, bias=False)
            for _ in range(_SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(_SCALES - 1))
        self.pool = nn.AvgPool2d(3, stride, padding=1) if first else None
        self.conv3 = nn.Conv2d(self.width * _SCALES, planes * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(cin, planes * EXPANSION, 1, stride, bias=False),
                nn.BatchNorm2d(planes * EXPANSION),
            )
            if first
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, 4 planes, h / stride, w / stride)."""
        *quarters, last = torch.split(torch.relu(self.bn1(self.conv1(x))), self.width, 1)
        outputs: list[Tensor] = []
        for quarter, conv, norm in zip(quarters, self.convs, self.bns, strict=True):
            inputs = quarter + outputs[-1] if outputs and self.pool is None else quarter
            outputs.append(torch.relu(norm(conv(inputs))))
        outputs.append(last if self.pool is None else self.pool(last))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.bn3(self.conv3(torch.cat(outputs, dim=1))) + shortcut)


class Res2Net(nn.Module):
    """Res2Net50-26w4s without its classifier.

    Args:
        pretrained: Start from timm's ImageNet weights; `base` and `blocks` must then be the
            defaults.
        base: Planes of the first stage.
        blocks: Blocks of each stage.

    Attributes:
        channels: Channels of the maps at strides 8, 16 and 32.

    Raises:
        MissingDependencyError: The weights are not on this machine and cannot be downloaded.
    """

    def __init__(
        self, *, pretrained: bool = True, base: int = 64, blocks: Sequence[int] = (3, 4, 6, 3)
    ) -> None:
        super().__init__()
        planes = [base * 2**stage for stage in range(4)]
        self.channels = tuple(EXPANSION * n for n in planes[1:])
        self.conv1 = nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = [base, *self.channels]
        inputs.insert(1, EXPANSION * base)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                Bottle2neck(cin, n, 1 if stage == 0 else 2, first=True),
                *(Bottle2neck(cout, n) for _ in range(count - 1)),
            )
            for stage, ((cin, cout), n, count) in enumerate(
                zip(pairwise(inputs), planes, blocks, strict=True)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if pretrained:
            self._load()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at strides 8, 16 and 32 of (B, 3, H, W)."""
        x = self.layer1(self.maxpool(torch.relu(self.bn1(self.conv1(x)))))
        f8 = self.layer2(x)
        f16 = self.layer3(f8)
        return f8, f16, self.layer4(f16)

    def _load(self) -> None:
        try:
            source: nn.Module = timm.create_model(WEIGHTS, pretrained=True)
        except OSError as missing:
            raise MissingDependencyError(
                "the ImageNet weights of Res2Net50-26w4s are not on this machine",
                expected=f"timm/{WEIGHTS}.in1k in the Hugging Face cache",
                got=str(missing).splitlines()[0][:200],
                hint=f"hf download timm/{WEIGHTS}.in1k where there is a network, "
                "or train with pretrained: false",
            ) from missing
        state = source.state_dict()
        self.load_state_dict(
            {name: value for name, value in state.items() if not name.startswith("fc.")}
        )
        self._take_symmetric_input()

    def _take_symmetric_input(self) -> None:
        """Rescale the first convolution from `(rgb / 255 - mean) / std` to `(rgb - 127) / 128`."""
        std = torch.tensor(_STD).view(1, 3, 1, 1)
        offset = (127 / 255 - torch.tensor(_MEAN).view(1, 3, 1, 1)) / std
        assert self.bn1.running_mean is not None
        with torch.no_grad():
            self.bn1.running_mean -= (self.conv1.weight * offset).sum(dim=(1, 2, 3))
            self.conv1.weight.mul_(128 / 255 / std)
