"""Size of a student: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from torch import nn


class StudentSize(NamedTuple):
    """Parameters and multiply-accumulates of one frame."""

    parameters: int
    macs: int

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.3g} M parameters, {self.macs / 1e9:.3g} GMAC"


def student_size(student: nn.Module, size: int) -> StudentSize:
    """Count parameters, and multiply-accumulates of convolutions and matrix products in `forward`.

    Only shapes are propagated. Padding counts as multiplied, as is customary.

    Args:
        student: Not changed.
        size: Height and width of the input in pixels.
    """
    state = {
        name: torch.empty_like(value, device="meta")
        for name, value in [*student.named_parameters(), *student.named_buffers()]
    }
    training = student.training
    student.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(student, state, (torch.empty(1, 3, size, size, device="meta"),))
    finally:
        student.train(training)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    return StudentSize(parameters, int(counter.get_total_flops()) // 2)
