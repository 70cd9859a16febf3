"""Any network of timm: its feature pyramid or a transformer's last map, fused on the grid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor

from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher, fitting_size, normalized
from distill.teachers.hub import quiet
from distill.teachers.layers import LayeredTeacher, numbered
from distill.teachers.unreadable import UNREADABLE
from distill.weight_files import text_instead_of_weights
from edge.errors import DataError, MissingDependencyError, UsageError
from edge.util.spec import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

PIXELS = 16
"""The map whose stride is nearest to this many pixels lies on the grid."""
STRIDES = (8, 16)
"""Finest and coarsest stride used if the network has it; coarser maps cannot separate cells."""
_PROBE = 224
"""Side of the picture on which the strides are found: a multiple of all usual ones."""
_CELLS = 9
"""Cells of the coarsest map along each axis of the image that offsets are measured on."""


class TimmFeatures(LayeredTeacher):
    """The last map at each stride from 8 to 16, aligned, stretched to one grid and concatenated.

    Args:
        network: A network of timm with `forward_intermediates` and a `pretrained_cfg`.
        name: Its name in timm.
        size: Height and width of its input, a multiple of its coarsest stride that is used; None
            for the size that timm names, rounded to one. A network that takes one size only has no
            choice.

    Raises:
        UsageError: It gives no maps, or the size does not fit.
    """

    def __init__(self, network: nn.Module, name: str, size: int | None = None) -> None:
        config: Any = network.pretrained_cfg
        fixed = config.get("fixed_input_size", False) and not getattr(
            network, "dynamic_img_size", False
        )
        trained = int(config["input_size"][-1])
        if fixed and size not in (None, trained):
            raise UsageError(
                f"timm's {name} takes one size only",
                expected=f"size={trained}, or no size",
                got=f"size={size}",
            )
        levels, depth = _levels(network.eval(), name, trained if fixed else _PROBE)
        chosen, strides = list(levels), [stride for stride, _ in levels.values()]
        divisor = max(strides)
        near = trained if fixed else max(1, round(trained / divisor)) * divisor
        title = f"timm-{re.sub(r'[^A-Za-z0-9._-]', '-', name)}"
        side = fitting_size(title, size or near, 1 if fixed else divisor, "coarsest stride")
        lying = min(strides, key=lambda stride: abs(stride - PIXELS))
        super().__init__(
            title, sum(c for _, c in levels.values()), "", size=side, cells=side // lying
        )
        self.network, self._levels, self._depth = network, chosen, depth
        self.mean, self.deviation = tuple(config["mean"]), tuple(config["std"])
        self.source = str(config.get("hf_hub_id") or config.get("url") or "timm")
        self.license = str(config.get("license") or "")
        self.freeze()
        self.measured_on = side if fixed else _CELLS * divisor
        self.offsets = measure_offsets(self._maps, self.measured_on)
        self.preprocessing = (
            f"mean {self.mean}, deviation {self.deviation}, maps {self._levels} at strides "
            f"{strides}, cells {self.offsets}"
        )

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, channels, *grid) of (B, 3, size, size) float RGB."""
        maps = self._maps(normalized(pixels, self.mean, self.deviation))
        levels = zip(maps, self.offsets, strict=True)
        return torch.cat([to_grid(m.float(), self.grid, offset) for m, offset in levels], dim=1)

    def layer_names(self) -> tuple[str, ...]:
        """The maps of timm's `forward_intermediates`."""
        return numbered(self._depth)

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Some of the maps; see `LayeredTeacher`."""
        inputs = normalized(pixels, self.mean, self.deviation)
        numbers = sorted({int(name) - 1 for name in names})
        maps = dict(zip(numbers, _intermediates(self.network, inputs, numbers), strict=True))
        return [maps[int(name) - 1] for name in names]

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        return _intermediates(self.network, pixels, self._levels)


def load_timm(source: str, size: int | None = None, *, pretrained: bool = True) -> Teacher:
    """A network of timm.

    Args:
        source: `NAME` for the weights that timm names, from its local copy or the network, or
            `NAME@CHECKPOINT` for those in a `.pth` or `.safetensors` file.
        size: As for `TimmFeatures`.
        pretrained: False builds it with random weights, which teach nothing; for tests.

    Raises:
        UsageError: timm knows no such network, or it gives no maps.
        DataError: The checkpoint is missing or does not fit.
        MissingDependencyError: The weights are not on this machine and cannot be downloaded.
    """
    name, at, checkpoint = source.partition("@")
    if not timm.is_model(name.partition(":")[2] or name) and not name.startswith("hf-hub:"):
        near = timm.list_models(f"*{re.split(r'[._0-9]', name)[0]}*")[:8]
        raise UsageError(
            f"timm has no network {name!r}",
            expected="a name of timm.list_models()"
            + (f", such as {', '.join(near)}" if near else ""),
            hint="for example timm:convnext_tiny",
        )
    if not at:
        return TimmFeatures(_pretrained(name) if pretrained else _create(name), name, size)
    path = expand(checkpoint)
    if not path.is_file():
        raise DataError(f"teacher timm: {path} is not a file", expected="a checkpoint of " + name)
    overlay = {"file": str(path), "custom_load": False, "source": ""}
    try:
        network = _create(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except UNREADABLE as error:
        raise DataError(
            f"teacher timm: {path} does not hold the weights of {name}",
            expected="all weights of the network, its classifier included",
            got=text_instead_of_weights(path) or _first_line(error),
            hint="download the file again, with git lfs if it comes from a Git repository",
        ) from error
    teacher = TimmFeatures(network, name, size)
    teacher.source = str(path)
    return teacher


def _pretrained(name: str) -> nn.Module:
    try:
        with quiet():
            return _create(name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingDependencyError(
            f"the pretrained weights of timm's {name} could not be had",
            expected="a network, or a copy in the local cache of the Hugging Face hub",
            got=_first_line(error),
            hint=f"use timm:{name}@FILE with a checkpoint of it",
        ) from error


def _create(name: str, **options: Any) -> nn.Module:
    """The network; one with position embeddings that can follow the input's size does."""
    try:
        network: nn.Module = timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:
        network = timm.create_model(name, **options)
    return network


def _levels(network: nn.Module, name: str, side: int) -> tuple[dict[int, tuple[int, int]], int]:
    """Index of the last map of each stride taken -> stride and channels, and number of maps."""
    try:
        with torch.no_grad():
            maps = _intermediates(network, torch.zeros(1, 3, side, side), None)
    except (AttributeError, NotImplementedError) as error:
        raise UsageError(
            f"timm's {name} gives no feature maps", expected="a network with forward_intermediates"
        ) from error
    last = {round(side / m.shape[-1]): (index, m.shape[1]) for index, m in enumerate(maps)}
    strides = [stride for stride in last if STRIDES[0] <= stride <= STRIDES[1]] or [max(last)]
    levels = {last[stride][0]: (stride, last[stride][1]) for stride in sorted(strides)}
    return levels, len(maps)


def _intermediates(network: Any, pixels: Tensor, indices: list[int] | None) -> list[Tensor]:
    maps: list[Tensor] = network.forward_intermediates(
        pixels, indices=indices, intermediates_only=True, output_fmt="NCHW", stop_early=True
    )
    return maps


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
