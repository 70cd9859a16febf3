"""Mixed transformer of the size B0 (Xie et al., SegFormer, NeurIPS 2021), for `ssformer-b0`.

Four stages at strides 4 to 32. Each begins with a strided convolution that overlaps its neighbors,
followed by blocks of attention, whose keys and values are summed up by a strided convolution, and a
feed-forward part with a depthwise convolution in it, which takes the place of a position embedding.
Parameters are our own; no weights of others fit.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (32, 64, 160, 256)
_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)
_DEPTH = 2
_WIDER = 4


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h w, C) -> (B, C, h, w)."""
    maps: Tensor = tokens.transpose(1, 2).unflatten(2, size)
    return maps


class ReducedAttention(nn.Module):
    """Multi-head attention to every cell, or to one of each square of `reduction` cells.

    A map that is smaller than such a square, or no multiple of it, is filled with zeros.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(channels) if reduction > 1 else None

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, h w, C) -> the same shape."""
        source = tokens
        if self.reduce is not None and self.norm is not None:
            below, right = (-side % self.reduction for side in size)
            padded = F.pad(to_map(tokens, size), (0, right, 0, below))
            source = self.norm(to_tokens(self.reduce(padded)))
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        both = self.key_value(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, both[0], both[1])
        projected: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return projected


class MixFeedForward(nn.Module):
    """Wider, a depthwise 3x3 convolution, GELU, and narrow again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = _WIDER * channels
        self.expand = nn.Linear(channels, wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.project = nn.Linear(wide, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, h w, C) -> the same shape."""
        wide = to_tokens(self.depthwise(to_map(self.expand(tokens), size)))
        narrow: Tensor = self.project(F.gelu(wide))
        return narrow


class MixBlock(nn.Module):
    """Attention and feed-forward part, each on normalized tokens and added to them."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.forward_norm = nn.LayerNorm(channels)
        self.feed_forward = MixFeedForward(channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, h w, C) -> the same shape."""
        tokens = tokens + self.attention(self.attention_norm(tokens), size)
        mixed: Tensor = tokens + self.feed_forward(self.forward_norm(tokens), size)
        return mixed


class MixStage(nn.Module):
    """A strided convolution and blocks at its stride."""

    def __init__(self, cin: int, channels: int, kernel: int, heads: int, reduction: int) -> None:
        super().__init__()
        stride = (kernel + 1) // 2
        self.embed = nn.Conv2d(cin, channels, kernel, stride, padding=kernel // 2)
        self.embed_norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(MixBlock(channels, heads, reduction) for _ in range(_DEPTH))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, cin, h, w) -> (B, channels, h / stride, w / stride)."""
        x = self.embed(x)
        size = (x.shape[-2], x.shape[-1])
        tokens = self.embed_norm(to_tokens(x))
        for block in self.blocks:
            tokens = block(tokens, size)
        return to_map(self.norm(tokens), size)


class MixTransformer(nn.Module):
    """The four stages.

    Attributes:
        channels: Channels of the maps at strides 4, 8, 16 and 32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = CHANNELS
        inputs, kernels = (3, *CHANNELS[:-1]), (7, 3, 3, 3)
        self.stages = nn.ModuleList(
            MixStage(*settings)
            for settings in zip(inputs, CHANNELS, kernels, _HEADS, _REDUCTIONS, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the maps at strides 4 to 32."""
        stages: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        return stages
