"""Interface of every teacher: frozen features of whole frames in one geometry."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Teacher(nn.Module, ABC):
    """A frozen foundation model whose features the student learns to predict.

    One geometry for all: the whole frame is stretched over the grid, and cell (i, j) of a (gh, gw)
    grid stands for the image region [i/gh, (i+1)/gh) x [j/gw, (j+1)/gw). Whatever a network's own
    padding or stride does to that is undone by its subclass.

    A teacher takes no gradient and stays in eval mode whatever its parent does, so that no
    BatchNorm statistic moves.

    Args:
        name: Name on the command line.
        channels: Channels of its maps.
        preprocessing: Everything besides the weights that decides the values of its maps; part of
            `identity`.
    """

    def __init__(self, name: str, channels: int, preprocessing: str) -> None:
        super().__init__()
        self.name = name
        self.channels = channels
        self.preprocessing = preprocessing

    @cached_property
    def identity(self) -> str:
        """Name, preprocessing and a SHA-256 over the weights: equal only where the maps are."""
        digest = hashlib.sha256()
        for key, value in self.state_dict().items():
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
        return f"{self.name} {self.channels} {self.preprocessing} {digest.hexdigest()}"

    @torch.no_grad()
    def features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Features of a batch on a grid.

        Args:
            images: (B, 3, H, W) uint8 RGB.
            grid: gh, gw.

        Returns:
            (B, channels, gh, gw) float32, without a gradient.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"a teacher takes (B, 3, H, W) uint8 RGB, got {tuple(images.shape)} {images.dtype}"
            )
        maps = resample(self.native_features(images, grid).float(), grid)
        if maps.shape[1] != self.channels:
            raise ValueError(
                f"{self.name} promised {self.channels} channels and gave {maps.shape[1]}"
            )
        return maps

    @abstractmethod
    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Compute features (B, channels, h, w) of whole frames on the network's own grid.

        A network that can choose its grid uses `grid`.
        """

    def freeze(self) -> None:
        """Switch off gradients and go to eval mode; subclasses call it when they are built."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002 - the signature is nn.Module's
        """Stay in eval mode."""
        return super().train(False)


def resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch (B, C, H, W) float to (B, C, *size), bilinear on half-pixel centers, antialiased."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)


def imagenet_normalized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, H, W) uint8 RGB, stretched to `size` with ImageNet's mean and deviation: float32."""
    mean = torch.tensor((0.485, 0.456, 0.406), device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225), device=images.device).view(1, 3, 1, 1)
    return (resample(images.float() / 255, size) - mean) / deviation


def covering(grid: tuple[int, int], pixels: int, divisor: int) -> tuple[int, int]:
    """Return a size of about `pixels` per cell, in multiples of `divisor` to cover the frame."""
    return -(-grid[0] * pixels // divisor) * divisor, -(-grid[1] * pixels // divisor) * divisor
