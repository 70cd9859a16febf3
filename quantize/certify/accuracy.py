"""Accuracy lost to INT8: FP32, calibrated, fine-tuned and every INT8 engine on the same frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from distill.train.evaluation import student_logits
from edge.engines.open import open_engine_files
from edge.engines.scoring import score_image
from edge.evaluation.evaluator import evaluate
from edge.evaluation.metrics import size_of
from edge.imaging.box_maps import mask_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from distill.config import DistillConfig
    from distill.students.build import Student
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport
    from quantize.export.engines import ExportedEngine

    Done = Callable[[str], None]

F32, PTQ, QAT = "f32", "ptq", "qat"
"""Steps before the engines: the distilled student, calibrated, and fine-tuned.

Calibration alone is post-training quantization.
"""
SMALL_RECALL = (
    "share of the frames whose polyp covers under 1 % of the image in which at least one pixel of "
    "it was found"
)


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step or engine, measured per image at native mask size and threshold 0.5 (protocol B).

    Attributes:
        step: `f32`, `ptq`, `qat`, or an engine's runtime and precision.
        frames: Number of frames scored.
        n: Number of frames with a polyp.
        dice: Mean Dice over the frames with a polyp; None if there are none.
        dice_ci95: Bootstrap 95 % interval of that mean.
        small: Number of frames with a small polyp.
        small_found: Number of those frames in which part of the polyp was found.
        small_recall: `small_found / small` (see `SMALL_RECALL`); None if there are none.
        flagged: Number of clean frames that were flagged.
        dices: Dice of each frame with a polyp, in their order; empty in records of older versions.
        small_hits: Whether part of each small polyp was found, in their order; empty likewise.
    """

    step: str
    frames: int
    n: int
    dice: float | None
    dice_ci95: tuple[float, float] | None
    small: int
    small_found: int
    small_recall: float | None
    flagged: int
    dices: list[float] = []
    small_hits: list[bool] = []


def score_student(
    step: str,
    model: nn.Module,
    config: DistillConfig,
    pairs: Sequence[Pair],
    done: Done | None = None,
    *,
    clean: Sequence[CleanFrame] = (),
) -> AccuracyRow:
    """Measure the accuracy of a plain or quantized student in torch.

    Args:
        step: Name of the step in the report.
        model: The student in evaluation mode.
        config: Configuration of its run, for the input size and the field of view.
        pairs: Images and masks.
        done: Called with the name of each frame after it was scored.
        clean: Further frames without a polyp.
    """
    student = cast("Student", model)
    report = evaluate(
        pairs,
        lambda image: student_logits(student, image, config.data.size),
        clean=clean,
        logits=True,
        rule=config.data.field_of_view,
        done=done,
    )
    return _row(step, report)


def score_engine(
    engine: ExportedEngine,
    config: DistillConfig,
    pairs: Sequence[Pair],
    done: Done | None = None,
    *,
    clean: Sequence[CleanFrame] = (),
) -> AccuracyRow:
    """Measure the accuracy of an engine, executed as on a device; arguments as `score_student`."""
    opened = open_engine_files(engine.runtime, engine.contents, None)
    try:
        report = evaluate(
            pairs,
            lambda image: mask_plane(score_image(opened, image), engine.planes),
            clean=clean,
            rule=config.data.field_of_view,
            done=done,
        )
    finally:
        opened.close()
    return _row(f"{engine.runtime} {engine.precision}", report)


def _row(step: str, report: EvaluationReport) -> AccuracyRow:
    small = [
        row
        for row in report.per_image
        if row.dice is not None and size_of(row.area_true) == "small"
    ]
    hits = [bool(row.dice) for row in small]
    hit_count = sum(hits)
    return AccuracyRow(
        step=step,
        frames=len(report.per_image),
        n=report.n,
        dice=report.dice,
        dice_ci95=report.dice_ci95,
        small=len(small),
        small_found=hit_count,
        small_recall=hit_count / len(small) if small else None,
        flagged=report.negatives.flagged,
        dices=[row.dice for row in report.per_image if row.dice is not None],
        small_hits=hits,
    )
