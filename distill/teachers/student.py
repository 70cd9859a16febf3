"""Trained students as teachers, by their decoder maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.run_folder import load_run
from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher, fitting_size, resample
from distill.teachers.layers import LayeredTeacher
from edge.util.spec import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from distill.students.build import Student, StudentMaps

_STRIDE = 8
"""Pixels of a student's input to a cell of its maps' grid."""
_CELLS = 9
"""Cells of the coarsest map along each axis of the image that offsets are measured on."""


class StudentMapsTeacher(LayeredTeacher):
    """The two decoder maps of a trained student, with 8 pixels of its input per grid cell.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.

    Raises:
        UsageError: The size does not fit.
    """

    def __init__(self, student: Student, size: int) -> None:
        side = min(size, _CELLS * student.divisor)
        offsets = measure_offsets(lambda x: student.maps(x)[1:3], side)
        super().__init__(
            "run",
            student.low_channels + student.high_channels,
            f"(x - 127) / 128, decoder maps, cells {offsets}",
            size=fitting_size("run", size, student.divisor, "divisor"),
            cells=max(1, size // _STRIDE),
        )
        self.network = student
        self.offsets, self.measured_on = offsets, side
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, low_channels + high_channels, *grid) of (B, 3, size, size) float RGB."""
        levels = zip(self.layer_maps(pixels, self.layer_names()), self.offsets, strict=True)
        return torch.cat(
            [to_grid(level.float(), self.grid, offset) for level, offset in levels], dim=1
        )

    def layer_names(self) -> tuple[str, ...]:
        """The decoder's coarse and its finer map."""
        return ("low", "high")

    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Some of the two maps; see `LayeredTeacher`."""
        maps: StudentMaps = self.network.maps(as_trained(pixels, pixels.shape[-1]))
        return [maps.low if name == "low" else maps.high for name in names]


def as_trained(pixels: Tensor, size: int) -> Tensor:
    """Input (B, 3, size, size) of a student, of (B, 3, h, w) float RGB from 0 to 255."""
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
    run = load_run(expand(source))
    teacher = StudentMapsTeacher(run.student, size or run.config.data.size)
    teacher.source, teacher.license = source, "trained here"
    return teacher
