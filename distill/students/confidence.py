"""How sure a student is of its mask: one logit for each image, for training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.students.blocks import conv_bn_relu6

FIRST_LOGIT = 1.0
"""Logit before the training: a student begins sure, and asks for hints where it fails."""


class Confidence(nn.Module):
    """Confidence from the mean of the deepest map, and from the scores themselves.

    The scores are read without a gradient: a student must not become sure by raising its logits.

    Args:
        channels: Channels of the deepest map.
        width: Number of features.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.features = conv_bn_relu6(channels, width, 1)
        self.head = nn.Conv2d(width + 2, 1, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, FIRST_LOGIT)

    def forward(self, deepest: Tensor, logits: Tensor) -> Tensor:
        """(B, channels, h, w) and (B, 1, H, W) -> (B, 1, 1, 1), a logit."""
        scores = torch.sigmoid(logits.detach())
        certain = torch.maximum(scores, 1 - scores)
        summary = torch.cat(
            [
                self.features(deepest).mean(dim=(2, 3), keepdim=True),
                scores.amax(dim=(2, 3), keepdim=True),
                certain.mean(dim=(2, 3), keepdim=True),
            ],
            dim=1,
        )
        confidence: Tensor = self.head(summary)
        return confidence
