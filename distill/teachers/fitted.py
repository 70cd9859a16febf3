"""A frozen network under a light head that has learned the task: a teacher that knows polyps.

`distill.train.teacher_fit` makes one. Its maps are those of the head's last block, from which the
logits are read by a 1x1 convolution, so a student that predicts them holds what the task needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from distill.config import make_config, read_config_file
from distill.run_folder import load_checkpoint
from distill.teachers.base import Teacher, resample
from distill.teachers.cache.standardize import Standardizer
from distill.teachers.layers import LayeredTeacher, numbered
from edge.errors import DataError, TrainingError, UsageError
from edge.util.spec import expand

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distill.config import DistillConfig

CONFIG, HEAD = "fit.yaml", "head.pt"
"""Files of a fitted teacher: the configuration of the fit, and its head with what it stands on."""
WIDTH = 128
"""Channels of the head's maps."""
_DILATIONS = (1, 2, 4)


class TaskHead(nn.Module):
    """A light head on standardized maps: a projection, depthwise blocks, and a logit for each cell.

    Args:
        channels: Channels of the maps.
        width: Channels of the head.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        self.project = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in _DILATIONS)
        self.logit = nn.Conv2d(width, 1, 1)

    def levels(self, maps: Tensor) -> list[Tensor]:
        """What each block gives, (B, width, h, w), of (B, channels, h, w)."""
        levels, x = [], self.project(maps)
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of (B, channels, h, w)."""
        logits: Tensor = self.logit(self.levels(maps)[-1])
        return logits


class _Block(nn.Module):
    """A residual depthwise-separable convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(
                width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False
            ),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) of the same."""
        return nn.functional.relu(x + self.body(x))


class FittedTeacher(LayeredTeacher):
    """Maps of a fitted head on a frozen network.

    Args:
        network: The frozen network.
        head: The fitted head.
        standardizer: What the head's input is standardized by.
        cells: Cells along each axis of the maps that the head was fitted on.
    """

    def __init__(
        self, network: Teacher, head: TaskHead, standardizer: Standardizer, cells: int
    ) -> None:
        super().__init__(
            f"fitted-{network.name.removeprefix('fitted-')}",
            head.width,
            f"{network.preprocessing}, fitted head",
            size=network.size,
            cells=cells,
        )
        self.network, self.head, self.standardizer = network, head, standardizer
        self.register_buffer("mean", standardizer.mean)
        self.register_buffer("scale", standardizer.scale)
        if standardizer.rotation is not None:
            self.register_buffer("rotation", standardizer.rotation)
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, width, *grid) of (B, 3, size, size) float RGB."""
        return self.head.levels(self._head_input(pixels))[-1]

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, 1, *grid) of (B, 3, size, size) float RGB."""
        logits: Tensor = self.head(self._head_input(pixels))
        return logits

    def layer_names(self) -> tuple[str, ...]:
        """The blocks of the head."""
        return numbered(len(self.head.blocks))

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """What some blocks of the head give; see `LayeredTeacher`."""
        levels = self.head.levels(self._head_input(pixels))
        return [levels[int(name) - 1] for name in names]

    def _head_input(self, pixels: Tensor) -> Tensor:
        """The network's maps as the head was fitted on them."""
        maps = resample(self.network.native_features(pixels).float(), self.network.grid)
        return self.standardizer.apply(resample(maps, self.grid))


def load_fit_config(folder: Path) -> DistillConfig:
    """The configuration of a fit.

    Raises:
        UsageError: The folder holds no fitted teacher.
    """
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} is not a fitted teacher",
            expected=f"a folder with {CONFIG} and {HEAD}",
            hint="fit a teacher first",
            code="not-a-fitted-teacher",
        )
    return make_config(read_config_file(folder / CONFIG))


def load_fitted(source: str) -> FittedTeacher:
    """A teacher that was fitted before.

    Args:
        source: Folder of the fit.

    Raises:
        UsageError: The folder holds no fitted teacher.
        TrainingError: Its head is missing or damaged.
        DataError: The network that it was fitted on has changed.
    """
    from distill.teachers.build import make_teacher

    folder = expand(source)
    (spec,) = load_fit_config(folder).teachers.specs
    state = load_checkpoint(folder / HEAD)
    network = make_teacher(spec)
    if state.get("network") != network.identity:
        raise DataError(
            f"{folder} was fitted on a different network",
            expected=f"the {spec} of the fit, with the same weights, size and layers",
            hint="restore its weights, or fit the teacher again",
        )
    return _assembled(folder, network, state)


def _assembled(folder: Path, network: Teacher, state: dict[str, Any]) -> FittedTeacher:
    head = TaskHead(network.channels)
    try:
        head.load_state_dict(state["head"])
        standardizer = Standardizer(state["mean"], state["scale"], state["rotation"])
        cells = int(state["cells"])
    except (KeyError, RuntimeError) as error:
        raise TrainingError(
            f"{folder / HEAD} does not hold a fitted head", got=str(error).splitlines()[0]
        ) from None
    teacher = FittedTeacher(network, head, standardizer, cells)
    teacher.source, teacher.license = str(folder), f"fitted here; network: {network.license}"
    return teacher
