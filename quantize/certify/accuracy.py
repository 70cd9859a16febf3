"""Accuracy lost to INT8: FP32, calibrated, fine-tuned and every INT8 engine on the same frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from distill.train.evaluation import student_logits
from edge.engines.open import open_engine_files
from edge.evaluation.evaluator import evaluate
from edge.evaluation.metrics import size_of
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from distill.config import DistillConfig
    from distill.students.build import Student
    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport
    from quantize.export.engines import ExportedEngine
    from quantize.runs.folder import QatConfig

    Done = Callable[[str], None]

F32, PTQ, QAT = "f32", "ptq", "qat"
"""Steps before the engines: the distilled student, calibrated, and fine-tuned.

Calibration alone is post-training quantization.
"""
MIN_SMALL_POLYPS = 5
"""With fewer small polyps, their recall is reported but not judged: one of four is a quarter."""
SMALL_RECALL = (
    "share of the frames whose polyp covers under 1 % of the image in which at least one pixel of "
    "it was found"
)
_EPSILON = 1e-9


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


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Allowed accuracy losses and the limits that were broken.

    Attributes:
        max_drop: Dice that INT8 may lose against FP32.
        max_small_drop: Recall of small polyps that INT8 may lose.
        breaches: One line for each loss that exceeds its limit.
        notes: What was not judged, and why.
    """

    max_drop: float
    max_small_drop: float
    breaches: list[str]
    notes: list[str]


def score_student(
    step: str,
    model: nn.Module,
    config: DistillConfig,
    pairs: Sequence[Pair],
    done: Done | None = None,
) -> AccuracyRow:
    """Measure the accuracy of a plain or quantized student in torch.

    Args:
        step: Name of the step in the report.
        model: The student in evaluation mode.
        config: Configuration of its run, for the input size and the field of view.
        pairs: Images and masks.
        done: Called with the name of each pair after it was scored.
    """
    student = cast("Student", model)
    report = evaluate(
        pairs,
        lambda image: student_logits(student, image, config.data.size),
        logits=True,
        rule=config.data.field_of_view,
        done=done,
    )
    return _row(step, report)


def score_engine(
    engine: ExportedEngine, config: DistillConfig, pairs: Sequence[Pair], done: Done | None = None
) -> AccuracyRow:
    """Measure the accuracy of an engine, executed as on a device."""
    opened = open_engine_files(engine.runtime, engine.contents, None)
    try:
        report = evaluate(
            pairs,
            lambda image: opened.infer(to_input(image, opened.input_size, bgr=False)),
            rule=config.data.field_of_view,
            done=done,
        )
    finally:
        opened.close()
    return _row(f"{engine.runtime} {engine.precision}", report)


def judge(rows: Sequence[AccuracyRow], config: QatConfig) -> Gate:
    """Compare the fine-tuned student and its engines with the FP32 student.

    Args:
        rows: Rows that include `F32`; `PTQ` is a baseline and is not judged.
        config: Configuration with the allowed losses.
    """
    whole = next(row for row in rows if row.step == F32)
    judged = [row for row in rows if row.step not in (F32, PTQ)]
    breaches, notes = [], []
    if whole.dice is None:
        notes.append("no validation frame has a polyp: nothing was judged")
    if 0 < whole.small < MIN_SMALL_POLYPS:
        notes.append(
            f"only {whole.small} small polyps: their recall is reported, but judged only from "
            f"{MIN_SMALL_POLYPS} on"
        )
    elif whole.small == 0:
        notes.append("no small polyps: their recall was not judged")
    for row in judged:
        if whole.dice is not None and row.dice is not None:
            drop = whole.dice - row.dice
            if drop > config.max_drop + _EPSILON:
                breaches.append(
                    f"{row.step}: Dice {row.dice:.4f} against {whole.dice:.4f} in f32, {drop:.4f} "
                    f"lost and {config.max_drop:g} allowed"
                )
        if (
            whole.small >= MIN_SMALL_POLYPS
            and whole.small_recall is not None
            and row.small_recall is not None
        ):
            drop = whole.small_recall - row.small_recall
            if drop > config.max_small_drop + _EPSILON:
                breaches.append(
                    f"{row.step}: {row.small_found} of {row.small} small polyps found against "
                    f"{whole.small_found} in f32, recall {drop:.3f} lost "
                    f"and {config.max_small_drop:g} allowed"
                )
    return Gate(
        max_drop=config.max_drop,
        max_small_drop=config.max_small_drop,
        breaches=breaches,
        notes=notes,
    )


def _row(step: str, report: EvaluationReport) -> AccuracyRow:
    small = [
        row
        for row in report.per_image
        if row.dice is not None and size_of(row.area_true) == "small"
    ]
    found = sum(1 for row in small if row.dice)
    return AccuracyRow(
        step=step,
        frames=len(report.per_image),
        n=report.n,
        dice=report.dice,
        dice_ci95=report.dice_ci95,
        small=len(small),
        small_found=found,
        small_recall=found / len(small) if small else None,
        flagged=report.negatives.flagged,
    )
