"""Interface of every teacher: frozen features of whole frames in one geometry."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import UsageError

MAX_CELLS = 64
"""Cells along each axis of the finest map that is kept; finer maps are reduced to it."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's mean and deviation of red, green and blue in 0 to 1."""


class Teacher(nn.Module, ABC):
    """A frozen foundation model whose features the student learns to predict.

    One geometry for all: the whole frame is stretched to a square of the size that the network was
    trained for, and cell (i, j) of a (gh, gw) grid stands for the image region [i/gh, (i+1)/gh) x
    [j/gw, (j+1)/gw). Whatever a network's own padding or stride does to that is undone by its
    subclass.

    A teacher takes no gradient and stays in eval mode whatever its parent does, so that no
    BatchNorm statistic moves. On CUDA it computes in bfloat16.

    Args:
        name: Name on the command line.
        channels: Channels of its maps.
        preprocessing: Everything besides size and weights that decides the values of its maps; part
            of `identity`.
        size: Height and width in pixels of the square that the network is shown.
        cells: Cells of its own map along each axis.

    Attributes:
        grid: Height and width of the map that is kept: `cells`, at most `MAX_CELLS`.
        source: Where its weights come from, for the reader.
        license: License of the published weights; empty if unknown.
    """

    def __init__(
        self, name: str, channels: int, preprocessing: str, *, size: int, cells: int
    ) -> None:
        super().__init__()
        self.name = name
        self.channels = channels
        self.preprocessing = preprocessing
        self.size = size
        self.grid = (min(cells, MAX_CELLS), min(cells, MAX_CELLS))
        self.source, self.license = "", ""

    @cached_property
    def identity(self) -> str:
        """Name, preprocessing, size and SHA-256 of the weights: equal only where the maps are."""
        digest = hashlib.sha256()
        for key, value in self.state_dict().items():
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
        how = f"{self.channels} {self.preprocessing}, {self.size} pixels"
        return f"{self.name} {how} {digest.hexdigest()}"

    def describe(self) -> str:
        """One line for the reader: parameters, size, grid, source and license."""
        millions = sum(value.numel() for value in self.parameters()) / 1e6
        size_text = (
            f"{millions:.1f} M parameters, {self.size} pixels, {self.grid[0]}x{self.grid[1]}"
        )
        source = f", {self.source}" if self.source else ""
        return (
            f"teacher {self.name}: {size_text} cells{source}, {self.license or 'license unknown'}"
        )

    @torch.no_grad()
    def features(self, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Features of a batch on a grid.

        Args:
            images: (B, 3, H, W) uint8 RGB of any size, best of `size` x `size`.
            grid: gh, gw; None for its own.

        Returns:
            (B, channels, gh, gw) float32, without a gradient.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"a teacher takes (B, 3, H, W) uint8 RGB, got {tuple(images.shape)} {images.dtype}"
            )
        pixels = resample(images.float(), (self.size, self.size))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            native = self.native_features(pixels)
        maps = resample(native.float(), grid or self.grid)
        if maps.shape[1] != self.channels:
            raise ValueError(
                f"{self.name} promised {self.channels} channels and gave {maps.shape[1]}"
            )
        return maps

    @abstractmethod
    def native_features(self, pixels: Tensor) -> Tensor:
        """Compute features (B, channels, h, w) of whole frames on the network's own grid.

        Args:
            pixels: (B, 3, size, size) float32 RGB, 0 to 255.
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


def normalized(pixels: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(B, 3, H, W) float RGB from 0 to 255, with mean and deviation of 0 to 1 taken out."""
    shape = (1, 3, 1, 1)
    middle = torch.tensor(mean, device=pixels.device).view(shape)
    return (pixels / 255 - middle) / torch.tensor(deviation, device=pixels.device).view(shape)


def fitting_size(name: str, size: int, multiple: int, what: str = "patch") -> int:
    """Return `size` if it is a multiple of what a network needs.

    Args:
        name: The teacher's name.
        size: Height and width of its input in pixels.
        multiple: Pixels that must divide it.
        what: What has that many pixels.

    Raises:
        UsageError: It is not.
    """
    if size % multiple:
        below = size // multiple * multiple
        near = [str(side) for side in (below, below + multiple) if side]
        raise UsageError(
            f"teacher {name}: a size of {size} pixels does not fit",
            expected=f"a multiple of its {what} of {multiple} pixels",
            hint=f"size={' or size='.join(near)}",
        )
    return size
