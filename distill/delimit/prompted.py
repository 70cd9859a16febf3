"""A trained student that is told boxes (`pro-mamba`) as a delineator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from distill.data.tensors import to_tensor
from distill.run_folder import load_run
from distill.students.pro_mamba import ProMamba, box_map
from edge.errors import UsageError
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.evaluation.delimit.base import Proposal
    from edge.frame import FieldOfView, ImageU8, MaskBool


class PromptedStudent:
    """One mask for each box, from the part of the frame that the student was trained to see.

    Args:
        student: In evaluation mode.
        size: Height and width of its input.
        rule: Part of a frame that it was trained to see.
    """

    def __init__(self, student: ProMamba, size: int, rule: FieldOfView) -> None:
        self._student, self._size, self._rule = student, size, rule

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """The masks of all boxes, at a probability of .5."""
        del true
        height, width = image.shape[:2]
        left, top, across, down = seen_part(image, self._rule) or (0, 0, width, height)
        seen = cut(image, (left, top, across, down))
        made = to_input(np.ascontiguousarray(seen), (self._size, self._size), bgr=False)
        x = to_tensor(made[None])
        scale = torch.tensor([self._size / across, self._size / down] * 2)
        masks = []
        for (column, row, wide, high), _ in proposals:
            edges = torch.tensor(
                [[column - left, row - top, column - left + wide, row - top + high]]
            )
            prompt = box_map(edges * scale, (self._size, self._size))
            with torch.inference_mode():
                logits = self._student.maps(x, prompt[None, None]).logits[0, 0].float().numpy()
            mask = np.zeros((height, width), bool)
            resized = cv2.resize(logits, (across, down), interpolation=cv2.INTER_LINEAR)
            mask[top : top + down, left : left + across] = resized > 0
            masks.append(mask)
        return masks


def open_prompted(run: Path) -> PromptedStudent:
    """The best student of a run of `pro-mamba`.

    Raises:
        UsageError: The folder is not a run directory, or its student is told no boxes.
        TrainingError: Its checkpoint cannot be used.
    """
    loaded = load_run(run)
    config, student = loaded.config, loaded.student
    if not isinstance(student, ProMamba):
        raise UsageError(
            f"{config.student.network} in {run} is told no boxes",
            expected="a run of pro-mamba",
            hint="student:RUN draws the mask of a crop around the box instead",
        )
    return PromptedStudent(student, config.data.size, config.data.field_of_view)
