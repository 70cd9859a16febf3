"""A student of one parameter, whose logits can be told from its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.students.base import Student, StudentMaps


class Redness(Student):
    """A student whose logit is the first channel of its input."""

    stride = divisor = low_channels = high_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def maps(self, x: Tensor) -> StudentMaps:
        logits = self.factor * x[:, :1]
        return StudentMaps(logits, logits, logits)
