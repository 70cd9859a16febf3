"""The FP32 student of a run as a detector and delineator, by its mask or its detection head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distill.data.tensors import to_tensor
from distill.run_folder import load_run
from distill.students.detection import box_probabilities
from distill.train.evaluation import student_logits
from edge.errors import UsageError
from edge.evaluation.delimit.base import Proposal, clip_box
from edge.evaluation.delimit.student import Scorer
from edge.evaluation.protocol_a import sigmoid
from edge.frame import DEFAULT_OPERATING_POINT
from edge.imaging.box_maps import read_boxes
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from pathlib import Path

    from distill.students.build import Student
    from edge.frame import FieldOfView, ImageU8, MaskBool


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


class RunHead:
    """The boxes of a student's detection head.

    Args:
        student: In evaluation mode, with a detection head.
        size: Height and width of its input.
        rule: Part of a frame that it was trained to see.
    """

    def __init__(self, student: Student, size: int, rule: FieldOfView) -> None:
        self._student, self._size, self._rule = student, size, rule

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """Boxes of (H, W, 3) uint8 RGB, in pixels of it."""
        del true
        height, width = image.shape[:2]
        part = seen_part(image, self._rule)
        x, y, across, down = part or (0, 0, width, height)
        prepared = to_input(cut(image, part), (self._size, self._size), bgr=False)
        with torch.inference_mode():
            maps = self._student.maps(to_tensor(prepared[None])).boxes
        assert maps is not None
        heat, size, offset = (value[0].float().numpy() for value in box_probabilities(maps))
        proposals = []
        for (left, top, right, low), score in read_boxes(heat, size, offset):
            edges = (x + left * across, y + top * down, x + right * across, y + low * down)
            proposals.append(Proposal(clip_box(edges, (height, width)), score))
        return proposals


def open_head(run: Path) -> RunHead:
    """The detection head of a run's best student.

    Raises:
        UsageError: The folder is not a run directory, or the student has no detection head.
        TrainingError: Its checkpoint cannot be used.
    """
    loaded = load_run(run)
    config = loaded.config
    if not loaded.student.has_boxes:
        raise UsageError(
            f"{config.student.network} in {run} gives no boxes",
            expected="a run with detection=true",
            hint="student:RUN takes boxes from the mask instead",
        )
    return RunHead(loaded.student, config.data.size, config.data.field_of_view)
