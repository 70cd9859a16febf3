"""How much accuracy the integers cost: FP32, calibrated, fine-tuned and every INT8 engine on the same frames."""

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
"""Steps on the way to the engines: the distilled student, its calibration alone (post-training quantization), and
what fine-tuning made of that."""
LEAST_SMALL = 5
"""Small polyps without which their recall is told and not judged: one of four is a quarter."""
SMALL_RECALL = "share of the frames whose polyp covers under 1 % of the image in which at least one pixel of it was found"
_EPSILON = 1e-9


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step or engine, per image at native mask size and threshold .5 (protocol B).

    Attributes:
        step: `f32`, `ptq`, `qat`, or an engine's runtime and precision.
        frames: All that were scored.
        n: Those with a polyp.
        dice: Mean over those, None without any.
        dice_ci95: Its bootstrap 95 % interval.
        small: Frames with a small polyp.
        small_found: Those in which some of it was found.
        small_recall: The share of them (`SMALL_RECALL`), None without any.
        flagged: Polyp-free frames that were flagged.
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
    """What was asked for, and what does not hold.

    Attributes:
        max_drop: Dice that INT8 may lose against FP32.
        max_small_drop: Recall of small polyps that INT8 may lose.
        breaches: What was lost beyond that, a line each.
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
    """Accuracy of a plain or quantized student in torch.

    Args:
        step: Its name in the report.
        model: In evaluation mode.
        config: Of its run: the size of its input and what of a picture it is shown.
        pairs: Images and masks.
        done: Called with the name of each pair when it is through.
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
    """Accuracy of an engine of the student of a run, run as a device runs it."""
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
        rows: One of them `F32`; `PTQ` is a baseline and not judged.
        config: Holds the allowances.
    """
    whole = next(row for row in rows if row.step == F32)
    judged = [row for row in rows if row.step not in (F32, PTQ)]
    breaches, notes = [], []
    if whole.dice is None:
        notes.append("no validation frame has a polyp: nothing was judged")
    if 0 < whole.small < LEAST_SMALL:
        notes.append(
            f"only {whole.small} small polyps: their recall is told and not judged (from {LEAST_SMALL} on)"
        )
    elif whole.small == 0:
        notes.append("no small polyps: their recall was not judged")
    for row in judged:
        if whole.dice is not None and row.dice is not None:
            drop = whole.dice - row.dice
            if drop > config.max_drop + _EPSILON:
                breaches.append(
                    f"{row.step}: Dice {row.dice:.4f} against {whole.dice:.4f} in f32, {drop:.4f} lost and "
                    f"{config.max_drop:g} allowed"
                )
        if (
            whole.small >= LEAST_SMALL
            and whole.small_recall is not None
            and row.small_recall is not None
        ):
            drop = whole.small_recall - row.small_recall
            if drop > config.max_small_drop + _EPSILON:
                breaches.append(
                    f"{row.step}: {row.small_found} of {row.small} small polyps found against "
                    f"{whole.small_found} in f32, recall {drop:.3f} lost and {config.max_small_drop:g} allowed"
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
