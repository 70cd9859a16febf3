"""Students trained here as task teachers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.run_folder import load_run
from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.students.build import Student, StudentMaps

_LEAST = 1e-5
"""Probability from which on a logit counts as certain."""
_CELLS = 9
"""Of the coarsest map, along each axis of the picture on which the cells' places are measured."""


class StudentMapsTeacher(Teacher):
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


class TaskTeacher(Teacher):
    """The answers of trained students as logits, for channel-wise distillation.

    Of several it is the logit of the mean of their probabilities. Answers lie where the masks do, because the students
    were trained on masks.

    Args:
        students: In evaluation mode, each with height and width of its input.
    """

    def __init__(self, students: Sequence[tuple[Student, int]]) -> None:
        sizes = [size for _, size in students]
        super().__init__(
            "run-logits", 1, f"(x - 127) / 128, {' + '.join(map(str, sizes))} pixels, logits of the mean"
        )
        self.networks, self.sizes = nn.ModuleList(student for student, _ in students), sizes
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 1, *grid) of (B, 3, H, W) uint8 RGB."""
        answers = [
            resample(network(_as_trained(images, size)).float(), grid)
            for network, size in zip(self.networks, self.sizes, strict=True)
        ]
        if len(answers) == 1:
            return answers[0]
        return torch.logit(torch.stack(answers).sigmoid().mean(dim=0), eps=_LEAST)


def _as_trained(images: Tensor, size: int) -> Tensor:
    return (resample(images.float(), (size, size)) - 127) / 128


def load_student_maps(source: str) -> Teacher:
    """The student of a finished run with its best weights.

    Args:
        source: The run's folder.

    Raises:
        UsageError: The folder holds no run.
        TrainingError: Its checkpoint is missing or damaged.
    """
    run = load_run(Path(source).expanduser())
    return StudentMapsTeacher(run.student, run.config.data.size)


def load_task_teacher(sources: Sequence[str]) -> Teacher:
    """The students of some runs as one teacher of their answers; raises what `load_student_maps` does."""
    runs = [load_run(Path(source).expanduser()) for source in sources]
    return TaskTeacher([(run.student, run.config.data.size) for run in runs])
