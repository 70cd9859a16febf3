"""Dice over the threshold is the Dice of a mask at each threshold."""

from __future__ import annotations

import numpy as np
import pytest

from edge.evaluation.metrics import dice_iou
from edge.evaluation.threshold_curve import THRESHOLDS, dice_curve, summarize_curves
from edge.imaging.postprocess import native_scores


@pytest.mark.parametrize("part", [None, (4, 2, 40, 30)])
@pytest.mark.parametrize("units", [True, False])
def test_a_curve_is_the_dice_of_each_mask(part: tuple[int, ...] | None, units: bool) -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 256, (12, 16)).astype(np.uint8)
    values = scores if units else scores.astype(np.float32) / 256
    true = np.zeros((36, 48), bool)
    true[5:20, 8:30] = True
    curve = dice_curve(values, true, part)  # type: ignore[arg-type]
    native = native_scores(scores, (36, 48), part)  # type: ignore[arg-type]
    for threshold, dice in zip(THRESHOLDS, curve, strict=True):
        expected = dice_iou(native >= np.float32(threshold), true)
        assert expected is not None
        assert dice == pytest.approx(expected[0])


def test_curves_are_averaged_over_images() -> None:
    ones, halves = np.ones(len(THRESHOLDS)), np.full(len(THRESHOLDS), 0.5)
    points = summarize_curves([ones, halves])
    assert [point.threshold for point in points] == list(THRESHOLDS)
    assert {point.dice for point in points} == {0.75}
    assert summarize_curves([]) == []
