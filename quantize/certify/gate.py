"""Judge what INT8 lost against FP32, by intervals of the differences per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.bundle.manifest import AccuracyGate, StepAccuracy, Verdict
from edge.evaluation.intervals import wilson
from edge.evaluation.paired import Difference, paired_difference
from quantize.certify.accuracy import F32, PTQ, AccuracyRow

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_SMALL_POLYPS = 5
"""With fewer small polyps, their recall is reported but not judged: one of four is a quarter."""
_EPSILON = 1e-9


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Allowed accuracy losses and the limits that were broken.

    A loss breaks its limit if its whole 95 % interval is above the limit, and is undecided if the
    interval holds the limit. Without values per image, as in records of older versions, the loss
    itself decides.

    Attributes:
        max_drop: Dice that INT8 may lose against FP32.
        max_small_drop: Recall of small polyps that INT8 may lose.
        breaches: One line for each loss that exceeds its limit.
        notes: What was not judged, and why.
        undecided: One line for each loss that may exceed its limit; more frames would tell.
        limits: Names of the limits that were broken, `max_drop` and `max_small_drop`.
    """

    max_drop: float
    max_small_drop: float
    breaches: list[str]
    notes: list[str]
    undecided: list[str] = []
    limits: list[str] = []

    @property
    def verdict(self) -> Verdict:
        """`failed`, `undecided` or `passed`."""
        if self.breaches:
            return "failed"
        return "undecided" if self.undecided else "passed"


class _Loss(NamedTuple):
    """A loss against FP32 and what is said of it."""

    limit: str
    allowed: float
    loss: float
    interval: Difference | None
    text: str

    @property
    def fails(self) -> bool:
        least = self.loss if self.interval is None else self.interval.low
        return least > self.allowed + _EPSILON

    @property
    def may_fail(self) -> bool:
        return self.interval is not None and self.interval.high > self.allowed + _EPSILON

    def line(self) -> str:
        """Write the loss with its interval and its limit."""
        within = self.interval
        bounds = "" if within is None else f" ({within.low:.4f} to {within.high:.4f})"
        return f"{self.text}, {self.loss:.4f} lost{bounds} and {self.allowed:g} allowed"


def judge(rows: Sequence[AccuracyRow], *, max_drop: float, max_small_drop: float) -> Gate:
    """Compare the fine-tuned student and its engines with the FP32 student.

    Args:
        rows: Rows that include `F32`; `PTQ` is a baseline and is not judged.
        max_drop: Dice that INT8 may lose.
        max_small_drop: Recall of small polyps that INT8 may lose.
    """
    baseline = next(row for row in rows if row.step == F32)
    judged = [row for row in rows if row.step not in (F32, PTQ)]
    losses = []
    for row in judged:
        losses += _dice_loss(baseline, row, max_drop) + _small_loss(baseline, row, max_small_drop)
    broken = [loss for loss in losses if loss.fails]
    return Gate(
        max_drop=max_drop,
        max_small_drop=max_small_drop,
        breaches=[loss.line() for loss in broken],
        notes=_notes(baseline),
        undecided=[loss.line() for loss in losses if loss.may_fail and not loss.fails],
        limits=sorted({loss.limit for loss in broken}),
    )


def gate_record(
    rows: Sequence[AccuracyRow], gate: Gate, *, small_recall: str, accepted: str | None = None
) -> AccuracyGate:
    """Make the record of a gate for a bundle's manifest.

    Args:
        rows: The judged rows.
        gate: The judgment.
        small_recall: Definition of the recall of small polyps.
        accepted: Why a failed gate was accepted; None if nobody accepted it.
    """
    return AccuracyGate(
        verdict=gate.verdict,
        max_drop=gate.max_drop,
        max_small_drop=gate.max_small_drop,
        breaches=gate.breaches,
        undecided=gate.undecided,
        notes=gate.notes,
        steps=[
            StepAccuracy(
                step=row.step,
                n=row.n,
                dice=row.dice,
                dice_ci95=row.dice_ci95,
                small=row.small,
                small_found=row.small_found,
                small_ci95=wilson(row.small_found, row.small) if row.small else None,
                clean=row.frames - row.n,
                flagged=row.flagged,
            )
            for row in rows
        ],
        small_recall=small_recall,
        accepted=accepted,
    )


def _dice_loss(baseline: AccuracyRow, row: AccuracyRow, allowed: float) -> list[_Loss]:
    if baseline.dice is None or row.dice is None:
        return []
    text = f"{row.step}: Dice {row.dice:.4f} against {baseline.dice:.4f} in f32"
    paired = _paired(row.dices, baseline.dices)
    return [_Loss("max_drop", allowed, baseline.dice - row.dice, paired, text)]


def _small_loss(baseline: AccuracyRow, row: AccuracyRow, allowed: float) -> list[_Loss]:
    if (
        baseline.small < MIN_SMALL_POLYPS
        or baseline.small_recall is None
        or row.small_recall is None
    ):
        return []
    text = (
        f"{row.step}: {row.small_found} of {row.small} small polyps found against "
        f"{baseline.small_found} in f32"
    )
    loss, paired = (
        baseline.small_recall - row.small_recall,
        _paired(row.small_hits, baseline.small_hits),
    )
    return [_Loss("max_small_drop", allowed, loss, paired, text)]


def _paired(row: Sequence[float], baseline: Sequence[float]) -> Difference | None:
    """Return how much of FP32 is lost per image; None without values per image."""
    if len(row) != len(baseline) or not row:
        return None
    return paired_difference(row, baseline)


def _notes(baseline: AccuracyRow) -> list[str]:
    notes = []
    if baseline.dice is None:
        notes.append("no validation frame has a polyp: nothing was judged")
    if 0 < baseline.small < MIN_SMALL_POLYPS:
        notes.append(
            f"only {baseline.small} small polyps: their recall is reported, but judged only from "
            f"{MIN_SMALL_POLYPS} on"
        )
    elif baseline.small == 0:
        notes.append("no small polyps: their recall was not judged")
    return notes
