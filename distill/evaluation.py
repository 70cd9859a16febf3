"""Accuracy of the FP32 student of a run: the device's own protocol with torch in the engine's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.batches import to_tensor
from distill.runs import load_run
from edge.evaluate import evaluate
from edge.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from distill.students import Student
    from edge.metrics import EvaluationReport
    from edge.pairs import Pair
    from edge.types import ImageU8


def student_scores(student: Student, image: ImageU8, size: int) -> NDArray[np.float32]:
    """Scores of one picture, (h, w) 0 to 1.

    Args:
        student: In evaluation mode.
        image: (H, W, 3) uint8 RGB, any size.
        size: Height and width of the student's input.
    """
    with torch.inference_mode():
        logits = student(to_tensor(to_input(image, (size, size), bgr=False)[None]))
    scores: NDArray[np.float32] = torch.sigmoid(logits)[0, 0].numpy()
    return scores


def evaluate_run(run: Path, pairs: Sequence[Pair]) -> EvaluationReport:
    """Protocol B of a run's best FP32 student.

    Args:
        run: Folder of a distillation.
        pairs: Images and masks.

    Raises:
        UsageError: The folder holds no run.
        TrainingError: Its checkpoint cannot be used.
        DataError: An image or mask cannot be used.
    """
    loaded = load_run(run)
    return evaluate(pairs, lambda image: student_scores(loaded.student, image, loaded.config.size))
