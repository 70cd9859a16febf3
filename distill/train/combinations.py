"""Refuse options that make no sense together, by name, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.options import LossOptions
from edge.errors import UsageError

if TYPE_CHECKING:
    from distill.config import DistillConfig
    from distill.students.base import Student

_UNKNOWN_TO_PAPER = {
    "background": "the polyp alone",
    "uncertainty": "no hints",
    "detection": "no boxes",
}
"""Mode that recipe `paper` cannot train -> what its loss knows."""
_MODES = {
    "hard_frames": "detection",
    "contrast_weight": "detection",
    "detection_weight": "detection",
    "confidence_budget": "uncertainty",
}
"""Option of the loss -> mode of the student without which it has no effect."""


def refuse_combinations(student: Student, config: DistillConfig) -> None:
    """Refuse a student and a loss that do not fit, and options without effect.

    Parts that a student cannot have are refused by `distill.students.build.build_student`.

    Args:
        student: The student that is trained.
        config: Configuration of the run.

    Raises:
        UsageError: Two options do not fit; both are named.
    """
    loss = config.loss
    chosen = {
        "background": loss.background,
        "uncertainty": config.student.uncertainty,
        "detection": config.student.detection,
    }
    for mode, known in _UNKNOWN_TO_PAPER.items():
        if loss.recipe == "paper" and chosen[mode]:
            raise UsageError(
                f"{mode}=true does not fit recipe paper, whose loss knows {known}",
                expected="recipe difom or none",
            )
    for option, mode in _MODES.items():
        if getattr(loss, option) != getattr(LossOptions(), option) and not chosen[mode]:
            raise UsageError(
                f"{option} has no effect without {mode}=true",
                expected=f"{mode}=true with {option}",
                hint=f"{mode}=true",
            )
    if student.prompted and (loss.recipe == "paper" or config.all_teachers):
        raise UsageError(
            f"{config.student.network} teaches and is not taught: it is told the boxes",
            expected="recipe none",
            hint="recipe=none",
        )
