"""Accuracy of a run's FP32 student by the device's protocol, with torch instead of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.data.batches import to_tensor
from distill.run_folder import load_run
from edge.evaluation.evaluator import evaluate
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from distill.students.build import Student
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.evaluation.evaluator import Seen
    from edge.evaluation.metrics import EvaluationReport
    from edge.frame import ImageU8


def student_logits(student: Student, image: ImageU8, size: int) -> NDArray[np.float32]:
    """Logits (h, w) of one image.

    Args:
        student: In evaluation mode.
        image: (H, W, 3) uint8 RGB of any size, the part of a frame that the student sees.
        size: Height and width of the student's input.
    """
    with torch.inference_mode():
        logits = student(to_tensor(to_input(image, (size, size), bgr=False)[None]))
    values: NDArray[np.float32] = logits[0, 0].float().numpy()
    return values


def evaluate_run(
    run: Path,
    pairs: Sequence[Pair],
    *,
    clean: Sequence[CleanFrame] = (),
    dataset: str = "given",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    seen: Seen | None = None,
) -> EvaluationReport:
    """Accuracy of a run's best FP32 student, at threshold 0.5.

    Args:
        run: Folder of a distillation run.
        pairs: Images and masks.
        clean: Frames without a polyp besides the pairs.
        dataset: Data set of the pairs whose name does not begin with one.
        protocol_a: Also measure by the protocol that is common in the field, from the logits.
        done: Called with the name of each pair once it is evaluated.
        seen: As in `edge.evaluation.evaluator.evaluate`.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: Its checkpoint cannot be used.
        DataError: An image or mask cannot be used.
    """
    loaded = load_run(run)
    return evaluate(
        pairs,
        lambda image: student_logits(loaded.student, image, loaded.config.data.size),
        clean=clean,
        dataset=dataset,
        logits=True,
        rule=loaded.config.data.field_of_view,
        protocol_a=protocol_a,
        done=done,
        seen=seen,
    )
