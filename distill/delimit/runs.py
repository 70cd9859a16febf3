"""The FP32 student of a run as a detector and delineator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.run_folder import load_run
from distill.train.evaluation import student_logits
from edge.evaluation.delimit.student import Scorer
from edge.evaluation.protocol_a import sigmoid
from edge.frame import DEFAULT_OPERATING_POINT

if TYPE_CHECKING:
    from pathlib import Path


def open_run(run: Path) -> Scorer:
    """A run's best student, at threshold 0.5.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: Its checkpoint cannot be used.
    """
    loaded = load_run(run)
    size = loaded.config.data.size
    return Scorer(
        lambda image: sigmoid(student_logits(loaded.student, image, size)),
        DEFAULT_OPERATING_POINT,
        loaded.config.data.field_of_view,
    )
