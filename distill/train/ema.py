"""Exponential moving average of a student's weights, which often generalizes better."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from distill.students.build import Student


class WeightAverage:
    """The averaged weights, as a student of their own.

    The decay grows with the number of updates up to its bound, so that the first weights fade
    quickly.

    Args:
        student: Student whose weights are averaged.
        decay: Largest weight of the previous average in an update.
    """

    def __init__(self, student: Student, decay: float) -> None:
        self.student = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, student: Student) -> None:
        """Add the weights of a step; integer buffers are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = student.state_dict()
        for name, average in self.student.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])

    def state_dict(self) -> dict[str, Any]:
        """State for `load_state_dict`."""
        return {"student": self.student.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.student.load_state_dict(state["student"])
        self.updates = int(state["updates"])
