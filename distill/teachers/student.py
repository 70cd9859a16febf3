"""A student trained here as task teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill.runs import load_run
from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher, resample

if TYPE_CHECKING:
    from distill.students import Student, StudentMaps

_CELLS = 9
"""Of the coarsest map, along each axis of the picture on which the cells' places are measured."""


class TaskTeacher(Teacher):
    """The two decoder maps of a trained student, at the input size that it was trained at.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.
    """

    def __init__(self, student: Student, size: int) -> None:
        offsets = measure_offsets(lambda x: student.maps(x)[1:3], min(size, _CELLS * student.divisor))
        super().__init__(
            "run",
            student.low_channels + student.high_channels,
            f"(x - 127) / 128, {size} pixels, decoder maps, cells {offsets}",
        )
        self.network = student
        self.size, self.offsets = size, offsets
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, low_channels + high_channels, gh, gw) of (B, 3, H, W) uint8 RGB."""
        maps = self._maps(images)
        levels = zip((maps.low, maps.high), self.offsets, strict=True)
        return torch.cat([to_grid(level, grid, offset) for level, offset in levels], dim=1)

    def _maps(self, images: Tensor) -> StudentMaps:
        maps: StudentMaps = self.network.maps(_as_trained(images, self.size))
        return maps


class AnsweringTeacher(Teacher):
    """The logits of a trained student, for channel-wise distillation.

    They lie where the masks do, because the student was trained on masks.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.
    """

    def __init__(self, student: Student, size: int) -> None:
        super().__init__("run-logits", 1, f"(x - 127) / 128, {size} pixels, logits")
        self.network, self.size = student, size
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 1, h, w) of (B, 3, H, W) uint8 RGB."""
        del grid
        logits: Tensor = self.network(_as_trained(images, self.size))
        return logits


def _as_trained(images: Tensor, size: int) -> Tensor:
    return (resample(images.float(), (size, size)) - 127) / 128


def load_task_teacher(source: str) -> Teacher:
    """The student of a finished run with its best weights.

    Args:
        source: The run's folder.

    Raises:
        UsageError: The folder holds no run.
        TrainingError: Its checkpoint is missing or damaged.
    """
    run = load_run(Path(source).expanduser())
    return TaskTeacher(run.student, run.config.size)


def load_answering(source: str) -> Teacher:
    """Likewise, as a teacher of its logits; raises what `load_task_teacher` does."""
    run = load_run(Path(source).expanduser())
    return AnsweringTeacher(run.student, run.config.size)
