"""Accuracy of a run's FP32 student by the device's protocol, with torch instead of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch

from distill.data.tensors import to_tensor
from distill.run_folder import load_run
from distill.students.base import mask_logits
from edge.evaluation.confidence import judge_confidence
from edge.evaluation.evaluator import evaluate, evaluated_files
from edge.evaluation.protocol_a import sigmoid
from edge.frame import DEFAULT_OPERATING_POINT
from edge.imaging.preprocess import to_input
from edge.record_header import make_header
from edge.util.files import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from distill.students.build import Student
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.evaluation.evaluator import FrameCallback
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
        inputs = to_tensor(to_input(image, (size, size), bgr=False)[None])
        logits = mask_logits(student, inputs)
    values: NDArray[np.float32] = logits[0, 0].float().numpy()
    return values


class Confidences:
    """Scores images with a student and keeps how sure it is of each.

    Args:
        student: In evaluation mode.
        size: Height and width of the student's input.

    Attributes:
        values: Name of a confidence -> its value for each image that was scored, 0 to 1: `maximum
            score`, the mean over the pixels of the larger of polyp's and background's score; `peak
            score`, the highest score of a polyp; and, for a student that has learned one,
            `confidence`.
    """

    def __init__(self, student: Student, size: int) -> None:
        self._student, self._size = student, size
        self.values: dict[str, list[float]] = {}

    def __call__(self, image: ImageU8) -> NDArray[np.float32]:
        """Logits (h, w) of one image (H, W, 3) uint8 RGB of any size."""
        with torch.inference_mode():
            inputs = to_tensor(to_input(image, (self._size, self._size), bgr=False)[None])
            maps = self._student.maps(inputs) if self._student.has_confidence else None
            logits = mask_logits(self._student, inputs) if maps is None else maps.logits
        values: NDArray[np.float32] = logits[0, 0].float().numpy()
        scores = sigmoid(values)
        confidences = {
            "maximum score": float(np.maximum(scores, 1 - scores).mean()),
            "peak score": float(scores.max()),
        }
        if maps is not None and maps.confidence is not None:
            confidences["confidence"] = float(torch.sigmoid(maps.confidence))
        for name, value in confidences.items():
            self.values.setdefault(name, []).append(value)
        return values


def evaluate_run(
    run: Path,
    pairs: Sequence[Pair],
    *,
    clean: Sequence[CleanFrame] = (),
    dataset: str = "given",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    on_frame: FrameCallback | None = None,
) -> EvaluationReport:
    """Accuracy of a run's best FP32 student, at threshold 0.5.

    Args:
        run: Folder of a distillation run.
        pairs: Images and masks.
        clean: Frames without a polyp besides the pairs.
        dataset: Data set of the pairs whose name does not begin with one.
        protocol_a: Also measure by the protocol that is common in the field, from the logits.
        done: Called with the name of each pair once it is evaluated.
        on_frame: As in `edge.evaluation.evaluator.evaluate`.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: Its checkpoint cannot be used.
        DataError: An image or mask cannot be used.
    """
    loaded = load_run(run)
    score = Confidences(loaded.student, loaded.config.data.size)
    report = evaluate(
        pairs,
        score,
        clean=clean,
        dataset=dataset,
        logits=True,
        rule=loaded.config.data.field_of_view,
        protocol_a=protocol_a,
        done=done,
        on_frame=on_frame,
    )
    confidence = judge_confidence(report.per_image, score.values)
    header = make_header(data=dataset, files=evaluated_files(pairs, clean), run=run)
    return msgspec.structs.replace(
        report,
        confidence=confidence,
        header=msgspec.structs.replace(
            header,
            digest=sha256(loaded.path / "checkpoints" / "best.pt"),
            engine="torch",
            precision="f32",
            threshold=DEFAULT_OPERATING_POINT.threshold,
        ),
    )
