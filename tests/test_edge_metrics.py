"""Protocol B against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import DataError
from edge.metrics import ImageScore, bootstrap_ci, dice_iou, summarise


def row(dice: float | None, *, flagged: bool = False) -> ImageScore:
    iou = None if dice is None else dice / (2 - dice)
    return ImageScore(name="x", dice=dice, iou=iou, area_true=0.1, area_found=0.1, flagged=flagged)


def mask(*columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    made = np.zeros((2, 10), bool)
    made[:, list(columns)] = True
    return made


def test_dice_and_iou_by_hand() -> None:
    np.testing.assert_allclose(dice_iou(mask(0, 1, 2), mask(1, 2, 3, 4)) or (), (4 / 7, 2 / 5))
    assert dice_iou(mask(3), mask(3)) == (1, 1)
    assert dice_iou(mask(), mask(3)) == (0, 0)


@pytest.mark.parametrize("found", [mask(), mask(1, 2)])
def test_a_polyp_free_image_has_no_dice(found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    assert dice_iou(found, mask()) is None


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


def test_negatives_are_counted_apart() -> None:
    report = summarise([row(0.8), row(None, flagged=True), row(0.6, flagged=True), row(None)])
    assert report.n == 2
    assert report.dice == pytest.approx(0.7)
    assert (report.negatives.n, report.negatives.flagged) == (2, 1)
    assert report.n + report.negatives.n == len(report.per_image)
    assert report.dice_ci95 is not None
    np.testing.assert_allclose(report.dice_ci95, (0.6, 0.8))


def test_only_negatives_leave_dice_open() -> None:
    report = summarise([row(None)])
    assert (report.n, report.dice, report.iou, report.dice_ci95) == (0, None, None, None)


def test_nothing_evaluated_is_an_error() -> None:
    with pytest.raises(DataError):
        summarise([])
    with pytest.raises(DataError):
        bootstrap_ci([])
