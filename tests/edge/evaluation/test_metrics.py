"""Protocol B against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import DataError
from edge.evaluation.intervals import bootstrap_ci, clustered_ci, resampled_means, wilson
from edge.evaluation.metrics import ImageScore, dice_iou, summarize


def row(dice: float | None, *, flagged: bool = False, area: float = 0.1) -> ImageScore:
    iou = None if dice is None else dice / (2 - dice)
    return ImageScore(name="x", dice=dice, iou=iou, area_true=area, area_found=0.1, flagged=flagged)


def mask(*columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    array = np.zeros((2, 10), bool)
    array[:, list(columns)] = True
    return array


def test_dice_and_iou_by_hand() -> None:
    np.testing.assert_allclose(dice_iou(mask(0, 1, 2), mask(1, 2, 3, 4)) or (), (4 / 7, 2 / 5))
    assert dice_iou(mask(3), mask(3)) == (1, 1)
    assert dice_iou(mask(), mask(3)) == (0, 0)


@pytest.mark.parametrize("predicted", [mask(), mask(1, 2)])
def test_a_polyp_free_image_has_no_dice(
    predicted: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> None:
    assert dice_iou(predicted, mask()) is None


def test_masks_of_different_size_are_an_error() -> None:
    with pytest.raises(DataError, match="size"):
        dice_iou(mask(1), mask(1)[:, :5])


def test_the_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(3).uniform(0, 1, 400).tolist()
    low, high = bootstrap_ci(values)
    error = np.std(values) / 20
    assert low == pytest.approx(np.mean(values) - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(np.mean(values) + 1.96 * error, abs=0.15 * error)


def test_the_interval_depends_on_nothing_but_values_and_seed() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 50).tolist()
    assert bootstrap_ci(values) == bootstrap_ci(values)
    assert bootstrap_ci(values, seed=1) != bootstrap_ci(values)
    assert bootstrap_ci([0.5] * 3) == (0.5, 0.5)


def test_many_images_are_drawn_in_blocks() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 20_000)
    low, high = bootstrap_ci(values.tolist(), draws=200)
    assert low < values.mean() < high
    assert high - low < 0.02


def test_a_clustered_interval_draws_whole_sequences() -> None:
    # Two sequences give three kinds of draws: 0 of 20, 8 of 12 and the mean of both, 1/4, 1/4 and
    # 1/2 of them.
    assert clustered_ci([(0, 10), (4, 6)], draws=4000) == pytest.approx((0, 4 / 6))
    many = [(0, 10)] * 200 + [(10, 10)] * 200
    low, high = clustered_ci(many)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.006)
    assert wilson(2000, 4000)[1] < 0.52, "as if 4000 frames were independent"
    assert clustered_ci([(3, 10)]) == pytest.approx((0.3, 0.3))
    with pytest.raises(DataError):
        clustered_ci([])


def test_negatives_are_counted_apart() -> None:
    report = summarize([row(0.8), row(None, flagged=True), row(0.6, flagged=True), row(None)])
    assert report.n == 2
    assert report.dice == pytest.approx(0.7)
    assert (report.negatives.n, report.negatives.flagged) == (2, 1)
    assert report.n + report.negatives.n == len(report.per_image)
    assert report.dice_ci95 is not None
    np.testing.assert_allclose(report.dice_ci95, (0.6, 0.8))


def test_polyps_are_grouped_by_their_share_of_the_image() -> None:
    scores = [
        row(0.4, area=0.0099),
        row(0.6, area=0.01),
        row(0.8, area=0.0999),
        row(0.9),
        row(1.0, area=1),
    ]
    report = summarize([*scores, row(None, area=0)])
    groups = report.by_size
    assert {name: group.n for name, group in groups.items()} == {
        "small": 1,
        "medium": 2,
        "large": 2,
    }
    assert groups["medium"].dice == pytest.approx(0.7)
    assert groups["small"].dice_ci95 == (0.4, 0.4)
    assert groups["large"].iou == pytest.approx((0.9 / 1.1 + 1) / 2)


def test_a_size_without_an_image_has_no_mean() -> None:
    group = summarize([row(0.5)]).by_size["small"]
    assert (group.n, group.dice, group.iou, group.dice_ci95) == (0, None, None, None)


def test_resamples_are_means_of_images_drawn_with_repetition() -> None:
    values = np.array([[0.0, 1.0], [3.0, 4.0], [9.0, 10.0]])
    means = resampled_means(values, draws=500)
    assert means.shape == (500, 2)
    np.testing.assert_allclose(means[:, 1], means[:, 0] + 1)
    assert {0, 1, 9} <= set(np.round(means[:, 0], 9))


def test_only_negatives_leave_dice_open() -> None:
    report = summarize([row(None)])
    assert (report.n, report.dice, report.iou, report.dice_ci95) == (0, None, None, None)


def test_nothing_evaluated_is_an_error() -> None:
    with pytest.raises(DataError):
        summarize([])
    with pytest.raises(DataError):
        bootstrap_ci([])
