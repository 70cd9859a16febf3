"""Trained students as teachers: of their decoder maps, or of their logits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.run_folder import load_run
from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher, fitting_size, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.students.build import Student, StudentMaps

_STRIDE = 8
"""Pixels of a student's input to a cell of its maps' grid."""
_LEAST = 1e-5
"""Probability at which a logit is clipped."""
_CELLS = 9
"""Cells of the coarsest map along each axis of the image that offsets are measured on."""


class StudentMapsTeacher(Teacher):
    """The two decoder maps of a trained student, with 8 pixels of its input per grid cell.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.

    Raises:
        UsageError: The size does not fit.
    """

    def __init__(self, student: Student, size: int) -> None:
        offsets = measure_offsets(
            lambda x: student.maps(x)[1:3], min(size, _CELLS * student.divisor)
        )
        super().__init__(
            "run",
            student.low_channels + student.high_channels,
            f"(x - 127) / 128, decoder maps, cells {offsets}",
            size=fitting_size("run", size, student.divisor, "divisor"),
            cells=max(1, size // _STRIDE),
        )
        self.network = student
        self.offsets = offsets
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, low_channels + high_channels, *grid) of (B, 3, size, size) float RGB."""
        maps: StudentMaps = self.network.maps(_as_trained(pixels, self.size))
        levels = zip((maps.low.float(), maps.high.float()), self.offsets, strict=True)
        return torch.cat([to_grid(level, self.grid, offset) for level, offset in levels], dim=1)


class TaskTeacher(Teacher):
    """Logits of trained students, for channel-wise distillation.

    Several students give the logit of the mean of their probabilities. No alignment is needed,
    because the students were trained on masks.

    Args:
        students: In evaluation mode, each with height and width of its input.
    """

    def __init__(self, students: Sequence[tuple[Student, int]]) -> None:
        sizes = [size for _, size in students]
        super().__init__(
            "run-logits",
            1,
            f"(x - 127) / 128, {' + '.join(map(str, sizes))} pixels, logits of the mean",
            size=max(sizes),
            cells=max(max(1, size // student.stride) for student, size in students),
        )
        self.networks, self.sizes = nn.ModuleList(student for student, _ in students), sizes
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, 1, *grid) of (B, 3, size, size) float RGB."""
        logits = [
            resample(network(_as_trained(pixels, size)).float(), self.grid)
            for network, size in zip(self.networks, self.sizes, strict=True)
        ]
        if len(logits) == 1:
            return logits[0]
        return torch.logit(torch.stack(logits).sigmoid().mean(dim=0), eps=_LEAST)


def _as_trained(pixels: Tensor, size: int) -> Tensor:
    return (resample(pixels, (size, size)) - 127) / 128


def load_student_maps(source: str, size: int | None = None) -> Teacher:
    """The student of a finished run with its best weights.

    Args:
        source: The run's folder.
        size: Height and width of its input; None for the size that it was trained at.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: Its checkpoint is missing or damaged.
    """
    run = load_run(Path(source).expanduser())
    teacher = StudentMapsTeacher(run.student, size or run.config.data.size)
    teacher.source, teacher.licence = source, "trained here"
    return teacher


def load_task_teacher(sources: Sequence[str]) -> Teacher:
    """The students of several runs as one teacher of logits; raises as `load_student_maps` does."""
    runs = [load_run(Path(source).expanduser()) for source in sources]
    teacher = TaskTeacher([(run.student, run.config.data.size) for run in runs])
    teacher.source, teacher.licence = ", ".join(sources), "trained here"
    return teacher
