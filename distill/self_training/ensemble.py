"""An ensemble of students: the mean of their probabilities (Hansen & Salamon, TPAMI 1990)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distill.run_folder import load_run
from distill.train.evaluation import Confidences, student_logits
from edge.errors import UsageError
from edge.evaluation.protocol_a import sigmoid
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import in_frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8


class Ensemble:
    """The best students of several runs, each at its own input size and field of view.

    Args:
        runs: Folders of runs.

    Raises:
        UsageError: There is no run, one is given twice, or a folder is not a run directory.
        TrainingError: A checkpoint is missing or damaged.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        if not runs or len({run.resolve() for run in runs}) < len(runs):
            raise UsageError(
                "invalid ensemble",
                expected="at least one run, each once",
                got=", ".join(map(str, runs)) or "no run",
            )
        self.members = [load_run(run) for run in runs]

    def scores(self, image: ImageU8) -> NDArray[np.float32]:
        """Probability that each pixel belongs to a polyp; 0 outside the students' fields of view.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W) float32, 0 to 1.
        """
        size = (image.shape[0], image.shape[1])
        maps = []
        for member in self.members:
            part = seen_part(image, member.config.data.field_of_view)
            logits = student_logits(member.student, cut(image, part), member.config.data.size)
            maps.append(in_frame(sigmoid(logits).astype(np.float32), size, part))
        mean: NDArray[np.float32] = np.mean(maps, axis=0, dtype=np.float32)
        return mean

    def confidence(self, image: ImageU8) -> float:
        """How sure the students are that have learned a confidence: their mean, 0 to 1.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            UsageError: No student has learned one.
        """
        values = []
        for member in self.members:
            if member.student.has_confidence:
                judge = Confidences(member.student, member.config.data.size)
                judge(cut(image, seen_part(image, member.config.data.field_of_view)))
                values += judge.values["confidence"]
        if not values:
            raise UsageError(
                "no student of the ensemble has learned how sure it is",
                expected="a run with uncertainty=true",
                got=", ".join(member.config.student.network for member in self.members),
            )
        return float(np.mean(values))
