"""Try quantization and export of an untrained student, before hours are spent on its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.students.build import build_student
from edge.errors import UsageError
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.nncf import quantize_student
from quantize.runs.training_only import is_training_only

if TYPE_CHECKING:
    from distill.config import DistillConfig

_SAMPLES = 2


def try_export(config: DistillConfig) -> bool:
    """Quantize and export the student of a configuration with random weights, for every engine.

    The state of torch's random numbers is kept. Nothing is written.

    Args:
        config: Configuration of a training.

    Returns:
        Whether it was tried; some students are for training and evaluation alone.

    Raises:
        UsageError: A runtime cannot express the student.
    """
    network, size = config.student.network, config.data.size
    if is_training_only(network):
        return False
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = build_student(network, pretrained=False).for_engines().eval()
        samples = [torch.rand(1, 3, size, size) * 2 - 1 for _ in range(_SAMPLES)]
        try:
            export_engines(canonicalize(student, (size, size)))
            export_engines(canonicalize(quantize_student(student, samples), (size, size)))
        except UsageError as error:
            raise UsageError(
                f"{network} can be trained, but not exported: {error.what}",
                expected=error.expected,
                got=error.got,
                hint=error.hint or "choose a different student",
                code="not-exportable",
            ) from error
    return True
