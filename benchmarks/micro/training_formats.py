"""Speedups of a training step: maps with their channels last in memory, and torch.compile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.record import Comparison, Side, compare, interleave
from edge.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

_WARM_STEPS = 2
_MAX_DIFFERENCE = 1e-3


def channels_last(
    rounds: int, *, student: str = "edge-s", size: int = 256, batch: int = 16
) -> Comparison:
    """Compare a step with the channels last, as in training, with one on contiguous maps.

    Args:
        rounds: Number of steps of each side.
        student: Name of the student.
        size: Height and width of its input.
        batch: Images in a step.
    """
    import torch

    last = _Steps(student, torch.channels_last, size, batch, _as_it_is)
    contiguous = _Steps(student, torch.contiguous_format, size, batch, _as_it_is)
    return _compared(
        last, contiguous, ("channels last", "contiguous"), rounds, student=student, size=size
    )


def compiled(
    rounds: int, *, student: str = "edge-s", size: int = 256, batch: int = 16
) -> Comparison:
    """Compare a step of the compiled student with one without compilation.

    The time of the compilation itself is not counted.

    Args:
        rounds: Number of steps of each side.
        student: Name of the student.
        size: Height and width of its input.
        batch: Images in a step.
    """
    import torch

    fused = _Steps(student, torch.channels_last, size, batch, torch.compile)
    begin = time.perf_counter()
    fused()
    seconds = round(time.perf_counter() - begin, 1)
    eager = _Steps(student, torch.channels_last, size, batch, _as_it_is)
    eager()
    return _compared(
        fused,
        eager,
        ("compiled", "eager"),
        rounds,
        student=student,
        size=size,
        compile_seconds=seconds,
    )


def _as_it_is(model: nn.Module) -> Callable[..., torch.Tensor]:
    return model


class _Steps:
    """Steps of the task loss on one batch; each call runs one and returns its milliseconds.

    Args:
        student: Name of the student; the initial weights are the same each time.
        memory: Memory format of its weights and of the images.
        size: Height and width of its input.
        batch: Images in a step.
        wrap: Wraps the student before it is called.
    """

    def __init__(
        self,
        student: str,
        memory: torch.memory_format,
        size: int,
        batch: int,
        wrap: Callable[[nn.Module], Callable[..., torch.Tensor]],
    ) -> None:
        import torch

        from distill.students.build import build_student

        torch.manual_seed(0)
        model = build_student(student, pretrained=False).to(memory_format=memory)
        self.call = wrap(model.train())
        self.images = torch.randn(batch, 3, size, size).to(memory_format=memory)
        self.masks = (torch.rand(batch, 1, size, size) > 0.5).float()
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        self.losses: list[float] = []

    def __call__(self) -> float:
        from distill.losses.task import structure_loss

        begin = time.perf_counter_ns()
        loss = structure_loss(self.call(self.images), self.masks)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        return (time.perf_counter_ns() - begin) / 1e6


def _compared(
    left: _Steps, right: _Steps, names: tuple[str, str], rounds: int, **settings: object
) -> Comparison:
    interleave(left, right, rounds=_WARM_STEPS)
    difference = abs(left.losses[0] - right.losses[0])
    if not difference <= _MAX_DIFFERENCE:
        raise ParityError(
            "both sides compute different losses",
            expected=f"a difference of at most {_MAX_DIFFERENCE}",
            got=f"{difference:.2g}",
        )
    samples = interleave(left, right, rounds=rounds)
    sides = [Side(what=name, samples=times) for name, times in zip(names, samples, strict=True)]
    check = f"first losses differ by {difference:.1g}"
    return compare(sides[0], sides[1], check=check, unit="ms", goal=None, **settings)
