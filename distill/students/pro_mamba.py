"""Teacher `pro-mamba`: a segmenter that scans the picture and is told boxes to look into.

After ProMamba (Xie et al., 2024): an encoder of selective scans over patches of 16 pixels (Vision
Mamba: Zhu et al., 2024), prompted with boxes that are the true ones, moved by chance, in training.
What it finds depends on the boxes, so that its figures are no student's. The published network has
24 layers of 768 channels and starts from ImageNet weights; this one has 6 of 128 and starts from
random ones. Its boxes come as a map, 1 inside of them, instead of tokens of their corners, and it
reads the picture a second time by a convolutional branch for maps at strides 4 and 8.

A whole frame is a box too: part of the training shows it instead, so that the network segments
without a box where nobody gives one, in validation and as a teacher by `run:RUN`.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps
from distill.students.blocks import conv_bn_relu6
from distill.students.branch import BRANCH, Branch
from distill.students.decoders.fpn import Fuse
from distill.students.selective_scan import SelectiveScan

PATCH = 16
CHANNELS = 128
LAYERS = 6
WIDTH = 64
"""Channels of the decoder."""
JITTER = 0.1
"""Largest move of an edge of a true box in training, as a share of the box's side."""
WHOLE = 0.25
"""Share of the pictures that are shown with the whole frame as their box in training."""


class ProMamba(Student):
    """Selective scans over patches, a map of boxes, a decoder and a 1x1 head.

    Args:
        channels: Channels of a patch.
        layers: Number of blocks, each of which scans from both ends.
    """

    stride = 4
    divisor = 2 * PATCH
    low_channels = high_channels = WIDTH
    prompted = True

    def __init__(self, *, channels: int = CHANNELS, layers: int = LAYERS) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, PATCH, PATCH)
        self.coarse_box = nn.Conv2d(1, channels, 1)
        self.layers = nn.ModuleList(SelectiveScan(channels) for _ in range(layers))
        self.top = conv_bn_relu6(channels + BRANCH[3], WIDTH, 1)
        self.branch = Branch()
        self.fine_box = nn.Conv2d(1, BRANCH[1], 1)
        self.fuse8, self.fuse4 = Fuse(BRANCH[2], WIDTH), Fuse(BRANCH[1], WIDTH)
        self.head = nn.Conv2d(WIDTH, 1, 1)

    def maps(self, x: Tensor, prompts: Tensor | None = None) -> StudentMaps:
        """Logits (B, 1, H/4, W/4), maps at 1/16 and 1/8.

        Args:
            x: (B, 3, H, W) normalized.
            prompts: (B, 1, H, W), 1 inside of the boxes and 0 elsewhere; None for whole frames.
        """
        if prompts is None:
            prompts = torch.ones_like(x[:, :1])
        tokens = self.patches(x) + self.coarse_box(F.avg_pool2d(prompts, PATCH))
        for layer in self.layers:
            tokens = layer(tokens)
        fine, middle, coarse = self.branch(x)
        fine = fine + self.fine_box(F.avg_pool2d(prompts, self.stride))
        low = self.top(torch.cat([tokens, coarse], dim=1))
        high = self.fuse8(low, middle)
        return StudentMaps(self.head(self.fuse4(high, fine)), low, high)


def training_prompts(masks: Tensor) -> Tensor:
    """Boxes of the training: those of the polyps, moved by chance, or the whole frame.

    Args:
        masks: (B, 1, H, W), 0 to 1.

    Returns:
        (B, 1, H, W), 1 inside of the boxes. A picture without a polyp has the whole frame.
    """
    whole = torch.rand(len(masks)) < WHOLE
    prompts = torch.ones_like(masks)
    for number, mask in enumerate(masks[:, 0].detach().cpu().numpy() >= 0.5):
        if whole[number] or not mask.any():
            continue
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        boxes = torch.from_numpy(stats[1:, :4].astype(np.float32))
        prompts[number, 0] = box_map(jittered(boxes), mask.shape).to(masks.device)
    return prompts


def jittered(boxes: Tensor) -> Tensor:
    """Edges (N, 4) left, upper, right and lower of boxes (N, 4), each moved by chance.

    Args:
        boxes: x, y, width and height in pixels.
    """
    moves = (torch.rand(len(boxes), 4) * 2 - 1) * JITTER * boxes[:, [2, 3, 2, 3]]
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1) + moves


def box_map(edges: Tensor, size: tuple[int, ...]) -> Tensor:
    """Map (H, W) of boxes: 1 where the center of a pixel lies in one.

    Args:
        edges: (N, 4) left, upper, right and lower edge in pixels.
        size: H, W.
    """
    y, x = (torch.arange(side) + 0.5 for side in size)
    left, upper, right, lower = (edges[:, edge, None] for edge in range(4))
    columns, rows = (left <= x) & (x < right), (upper <= y) & (y < lower)
    return (rows[:, :, None] & columns[:, None, :]).any(dim=0).float()
