"""What INT8 may cost: the gate judges the losses per image by their intervals."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from quantize.certify.accuracy import F32, PTQ, QAT, SMALL_RECALL, AccuracyRow
from quantize.certify.gate import MIN_SMALL_POLYPS, Gate, gate_record, judge


def row(
    step: str, dice: float | None, *, small: int = 10, hits: int = 9, frames: int = 20
) -> AccuracyRow:
    return AccuracyRow(
        step=step,
        frames=frames,
        n=frames,
        dice=dice,
        dice_ci95=None,
        small=small,
        small_found=hits,
        small_recall=hits / small if small else None,
        flagged=0,
    )


def gate(*rows: AccuracyRow, max_drop: float = 0.005, max_small_drop: float = 0.1) -> Gate:
    return judge(rows, max_drop=max_drop, max_small_drop=max_small_drop)


def breaches(*rows: AccuracyRow, **limits: float) -> list[str]:
    return gate(*rows, **limits).breaches


def test_gate_judges_student_and_engines_not_the_baseline() -> None:
    """The gate judges the student and its engines, not the baseline."""
    losses = breaches(row(F32, 0.8), row(PTQ, 0.1), row(QAT, 0.795), row("tflite int8", 0.7949))
    assert len(losses) == 1
    assert losses[0].startswith("tflite int8: Dice 0.7949 against 0.8000 in f32, 0.0051 lost")
    assert not breaches(row(F32, 0.8), row(PTQ, 0.1), row(QAT, 0.9))


def test_allowance_itself_is_allowed() -> None:
    rows = row(F32, 0.8, hits=9), row(PTQ, 0.8), row(QAT, 0.7, hits=8)
    assert 0.8 - 0.7 > 0.1, "as floats"
    assert not breaches(*rows, max_drop=0.1, max_small_drop=0.1)
    assert len(breaches(*rows, max_drop=0.0999, max_small_drop=0.0999)) == 2


@pytest.mark.parametrize(
    ("small", "judged"), [(MIN_SMALL_POLYPS, True), (MIN_SMALL_POLYPS - 1, False), (0, False)]
)
def test_few_small_polyps_are_told_and_not_judged(small: int, judged: bool) -> None:
    verdict = gate(row(F32, 0.8, small=small, hits=small), row(QAT, 0.8, small=small, hits=0))
    assert bool(verdict.breaches) is judged
    assert any("small polyps" in note for note in verdict.notes) is not judged
    if judged:
        assert f"0 of {small} small polyps found against {small} in f32" in verdict.breaches[0]


def test_frames_without_a_polyp_judge_nothing() -> None:
    verdict = gate(row(F32, None, small=0), row(QAT, None, small=0), max_drop=0.0)
    assert verdict.breaches == []
    assert any("no validation frame has a polyp" in note for note in verdict.notes)


def per_image(step: str, dices: list[float], hits: list[bool]) -> AccuracyRow:
    plain = row(step, sum(dices) / len(dices), small=len(hits), hits=sum(hits), frames=len(dices))
    return msgspec.structs.replace(plain, dices=dices, small_hits=hits)


def test_one_lost_polyp_of_five_is_chance_and_all_are_not() -> None:
    """One lost polyp of five is chance and all of them are not."""
    dices = [0.8] * 20
    baseline = per_image(F32, dices, [True] * 5)
    chance = gate(baseline, per_image(QAT, dices, [True] * 4 + [False]))
    assert chance.verdict == "undecided"
    assert (
        "4 of 5 small polyps found against 5 in f32, 0.2000 lost (0.0000 to"
        in (chance.undecided[0])
    )
    lost = gate(baseline, per_image(QAT, dices, [False] * 5))
    assert (lost.verdict, lost.limits) == ("failed", ["max_small_drop"])


def test_a_loss_fails_if_its_whole_interval_exceeds_the_limit() -> None:
    """A loss of dice fails only where its whole interval is above the limit."""
    random = np.random.default_rng(0)
    dices = random.uniform(0.5, 0.9, 200)
    baseline = per_image(F32, dices.tolist(), [])

    def lose(mean: float, deviation: float) -> Gate:
        loss = random.normal(mean, deviation, 200)
        return gate(baseline, per_image(QAT, (dices - loss).tolist(), []))

    assert lose(0.001, 0.005).verdict == "passed"
    assert lose(0.006, 0.05).verdict == "undecided"
    failed = lose(0.02, 0.02)
    assert (failed.verdict, failed.limits) == ("failed", ["max_drop"])


def test_the_record_for_a_manifest_has_figures_and_reason() -> None:
    """The record for a manifest has the figures and the reason."""
    baseline, cut = per_image(F32, [0.8] * 4, [True] * 5), per_image(QAT, [0.5] * 4, [True] * 5)
    baseline = msgspec.structs.replace(baseline, frames=10, flagged=2)
    record = gate_record(
        [baseline, cut], gate(baseline, cut), small_recall=SMALL_RECALL, accepted="a test"
    )
    assert (record.verdict, record.accepted) == ("failed", "a test")
    first = record.steps[0]
    assert (first.n, first.clean, first.flagged, first.small_found) == (4, 6, 2, 5)
    assert first.small_ci95 is not None
    assert first.small_ci95[0] < 0.6 < first.small_ci95[1] == 1.0
