"""Weight updates of a run: AdamW, one-cycle schedule, clipped gradients and averaged weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distill.train.ema import WeightAverage
from edge.errors import UsageError

if TYPE_CHECKING:
    from distill.options import OptimizerOptions, StudentOptions
    from distill.students.build import Student

_LARGEST_GRADIENT = 5.0
_PRESENCE_LR = 0.1
"""Learning rate of the presence logit as a share of the decoder's: it adds up many features, and at
the full rate the first steps would call every frame clean."""
_RISING = 0.2
"""Share of the schedule during which the learning rate rises."""


def frozen_stages(student: Student, options: StudentOptions) -> list[nn.Module]:
    """Freeze the first stages of a student's encoder and return them.

    Raises:
        UsageError: The student has fewer stages, or its encoder is not pretrained.
    """
    stages = student.stages()
    if options.frozen_stages > len(stages) or (options.frozen_stages and not options.pretrained):
        raise UsageError(
            f"frozen_stages={options.frozen_stages} does not fit {options.name}",
            expected=f"at most {len(stages)} stages of a pretrained encoder",
            got="" if options.pretrained else "pretrained=false",
        )
    frozen = stages[: options.frozen_stages]
    for stage in frozen:
        stage.requires_grad_(False)
    return frozen


def parameter_groups(
    module: nn.Module, student: Student, options: OptimizerOptions
) -> list[dict[str, Any]]:
    """Group trainable parameters; encoder and presence logit have their own learning rates."""
    encoder, presence = (_inside(student, name) for name in ("encoder", "presence"))
    trained = [p for p in module.parameters() if p.requires_grad]
    rest = [p for p in trained if id(p) not in encoder | presence]
    groups = [
        {"params": rest, "lr": options.lr},
        {"params": [p for p in trained if id(p) in encoder], "lr": options.lr * options.encoder_lr},
        {"params": [p for p in trained if id(p) in presence], "lr": options.lr * _PRESENCE_LR},
    ]
    return [group for group in groups if group["params"]]


def _inside(student: Student, name: str) -> set[int]:
    part = getattr(student, name, None)
    return {id(p) for p in part.parameters()} if isinstance(part, nn.Module) else set()


class Optimizer:
    """Optimizer, schedule (Smith & Topin, 2018) and weight average of one run.

    Args:
        module: Module to train: the student and what its recipe adds.
        student: The student within `module`.
        options: How the weights are updated.
        steps: Number of steps of the whole run.
    """

    def __init__(
        self, module: nn.Module, student: Student, options: OptimizerOptions, steps: int
    ) -> None:
        self._student = student
        groups = parameter_groups(module, student, options)
        self._optimizer = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            max_lr=[group["lr"] for group in groups],
            total_steps=steps,
            pct_start=_RISING,
        )
        self._average = WeightAverage(student, options.ema) if options.ema else None

    @property
    def scored(self) -> Student:
        """Return the student with averaged weights, or as it is if the run keeps no average."""
        return self._average.student if self._average else self._student

    @property
    def lr(self) -> float:
        """Learning rate of the decoder and the heads."""
        return float(self._schedule.get_last_lr()[0])

    def begin(self) -> None:
        """Clear the gradients of the previous step."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Update the weights with their gradients."""
        nn.utils.clip_grad_norm_(self._student.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        if self._average:
            self._average.update(self._student)

    def state_dict(self) -> dict[str, Any]:
        """State for `load_state_dict`."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "average": self._average.state_dict() if self._average else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.load_state_dict(state["average"])
