"""Confidence figures against plain loops and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import DataError
from edge.evaluation.confidence import (
    BINS,
    expected_calibration_error,
    image_quality,
    judge_confidence,
    quality_at,
    risk_coverage_area,
)
from edge.evaluation.metrics import ImageScore


def row(dice: float | None, *, flagged: bool = False) -> ImageScore:
    return ImageScore(name="x", dice=dice, iou=dice, area_true=0.1, area_found=0.1, flagged=flagged)


@pytest.mark.parametrize("count", [1, 2, 7, 30, 31, 200])
def test_the_figures_are_the_plain_ones(count: int) -> None:
    rng = np.random.default_rng(count)
    confidence, quality = rng.permutation(np.linspace(0, 1, count)), rng.random(count)
    pairs = list(zip(confidence.tolist(), quality.tolist(), strict=True))
    order = sorted(pairs, key=lambda pair: -pair[0])
    risks = [1 - value for _, value in order]
    curve = [sum(risks[:count]) / count for count in range(1, len(risks) + 1)]
    assert risk_coverage_area(confidence, quality) == pytest.approx(sum(curve) / len(curve))
    ece = 0.0
    for number in range(BINS):
        last = number == BINS - 1
        inside = [
            (c, q) for c, q in pairs if int(c * BINS) == number or (last and int(c * BINS) == BINS)
        ]
        if inside:
            means = np.mean(inside, axis=0)
            ece += len(inside) / len(pairs) * abs(means[0] - means[1])
    assert expected_calibration_error(confidence, quality) == pytest.approx(ece, abs=1e-9)
    half = order[: int(np.ceil(len(order) / 2))]
    assert quality_at(confidence, quality, 0.5) == pytest.approx(np.mean([q for _, q in half]))


def test_a_ranking_confidence_has_the_smallest_area() -> None:
    """A confidence that ranks the images has the smallest area."""
    quality = np.array([0.9, 0.2, 0.7, 0.5])
    best, worst = risk_coverage_area(quality, quality), risk_coverage_area(-quality, quality)
    assert best == pytest.approx(np.mean([0.1, 0.2, 0.3, 0.425]))
    assert best < risk_coverage_area(np.ones(4), quality) < worst
    assert risk_coverage_area(np.ones(4), quality) == pytest.approx(1 - quality.mean())


def test_equal_confidences_do_not_depend_on_the_order() -> None:
    """Equal confidences do not depend on the order of the images."""
    confidence, quality = np.array([0.5, 0.5, 0.1]), np.array([1.0, 0.0, 0.5])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        assert quality_at(confidence[order], quality[order], 1 / 3) == pytest.approx(0.5)


def test_a_clean_image_is_good_if_nothing_is_flagged() -> None:
    rows = [row(0.8), row(None), row(None, flagged=True)]
    assert image_quality(rows).tolist() == [0.8, 1.0, 0.0]
    judged = judge_confidence(rows, {"c": [0.8, 1.0, 0.0]})
    assert judged.n == 3
    assert judged.quality == pytest.approx(0.6)
    assert judged.by_confidence["c"].ece == pytest.approx(0)
    with pytest.raises(DataError, match="does not fit the images"):
        judge_confidence(rows, {"c": [0.8]})
