"""Teachers of logits: trained students, fitted teachers, and ensembles of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.run_folder import load_run
from distill.teachers.base import Teacher, resample
from distill.teachers.fitted import FittedTeacher, load_fitted
from distill.teachers.student import as_trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.students.build import Student
    from edge.util.spec import Spec

_LEAST = 1e-5
"""Probability at which a logit is clipped."""


class StudentLogits(nn.Module):
    """Logits of a trained student.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.

    Attributes:
        cells: Cells of its logits along each axis.
    """

    def __init__(self, student: Student, size: int) -> None:
        super().__init__()
        self.network, self.size = student, size
        self.cells = max(1, size // student.stride)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 1, cells, cells) of (B, 3, h, w) float RGB, 0 to 255."""
        logits: Tensor = self.network(as_trained(pixels, self.size))
        return logits


class FittedLogits(nn.Module):
    """Logits of a fitted teacher; attributes as `StudentLogits` has them."""

    def __init__(self, teacher: FittedTeacher) -> None:
        super().__init__()
        self.network, self.size, self.cells = teacher, teacher.size, teacher.grid[0]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 1, cells, cells) of (B, 3, h, w) float RGB, 0 to 255."""
        return self.network.logits(resample(pixels, (self.size, self.size)))


class TaskTeacher(Teacher):
    """Logits of networks that segment polyps, for channel-wise distillation.

    Several networks give the logit of the mean of their probabilities. No alignment is needed,
    because they were trained on masks.

    Args:
        members: The networks.
    """

    def __init__(self, members: Sequence[StudentLogits | FittedLogits]) -> None:
        sizes = " + ".join(str(member.size) for member in members)
        super().__init__(
            "task-logits",
            1,
            f"{sizes} pixels, logits of the mean",
            size=max(member.size for member in members),
            cells=max(member.cells for member in members),
        )
        self.members = nn.ModuleList(members)
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, 1, *grid) of (B, 3, size, size) float RGB."""
        logits = [resample(member(pixels).float(), self.grid) for member in self.members]
        if len(logits) == 1:
            return logits[0]
        return torch.logit(torch.stack(logits).sigmoid().mean(dim=0), eps=_LEAST)


def load_task_teacher(specs: Sequence[Spec]) -> Teacher:
    """Several networks as one teacher of logits.

    Args:
        specs: `run:RUN` or `fitted:DIR` each, without options.

    Raises:
        UsageError: A folder is neither a run nor a fitted teacher.
        TrainingError: A checkpoint is missing or damaged.
        DataError: The network under a fitted teacher has changed.
    """
    members: list[StudentLogits | FittedLogits] = []
    for spec in specs:
        if spec.scheme == "fitted":
            members.append(FittedLogits(load_fitted(spec.target)))
        else:
            run = load_run(spec.path)
            members.append(StudentLogits(run.student, run.config.data.size))
    teacher = TaskTeacher(members)
    teacher.source, teacher.license = ", ".join(map(str, specs)), "trained here"
    return teacher
