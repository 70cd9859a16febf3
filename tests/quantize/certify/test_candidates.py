"""The tables of all candidates against the device's own regions, one candidate after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evaluation.evaluator import score_frame
from edge.imaging.postprocess import enlarged, regions
from quantize.certify.candidates import SLACK, Balance, Candidates, Place, choose, highest_dice
from quantize.certify.point_table import LEVELS, MIN_REGIONS, PEAKS, clean_table, polyp_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import OperatingPoint

    U8 = NDArray[np.uint8]

SIDE = 16
GRID = 64


def random_scores(seed: int, smooth: bool) -> U8:
    generator = np.random.default_rng(seed)
    if smooth:
        small = generator.integers(0, 256, (5, 5)).astype(np.uint8)
        return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    return generator.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


def random_mask(seed: int) -> NDArray[np.bool_]:
    generator = np.random.default_rng(seed)
    mask = np.zeros((GRID, GRID), np.uint8)
    center = generator.integers(8, GRID - 8, 2)
    cv2.circle(
        mask, (int(center[0]), int(center[1])), int(generator.integers(1, 20)), 1, cv2.FILLED
    )
    return mask > 0


def kept_mask(scores: U8, point: OperatingPoint) -> NDArray[np.bool_]:
    """The kept regions of a frame that is as large as the grid, drawn one by one."""
    grid = enlarged(scores) >= round(point.threshold * 256)
    mask = np.zeros((GRID, GRID), np.uint8)
    for region in regions(scores, (GRID, GRID), point):
        cv2.drawContours(mask, [np.array(region.contour)[:, None]], 0, 1, cv2.FILLED)
    return (mask > 0) & grid


def some_places(seed: int) -> list[Place]:
    generator = np.random.default_rng(seed)
    highs = (len(LEVELS), len(MIN_REGIONS), PEAKS)
    return [Place(*(int(generator.integers(0, high)) for high in highs)) for _ in range(25)]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_tables_are_what_the_devices_regions_give(seed: int, smooth: bool) -> None:
    scores, true = random_scores(seed, smooth), random_mask(seed)
    table, highest = polyp_table(scores, true), clean_table(scores)
    for place in some_places(seed):
        mask = kept_mask(scores, place.point)
        dice = 2 * np.count_nonzero(mask & true) / (np.count_nonzero(mask) + np.count_nonzero(true))
        assert abs(table.dice[place] - dice) < 1e-5
        assert bool((mask & true).any()) == (table.touching[place[:2]] >= place.peak)
        found_regions = regions(scores, (GRID, GRID), place.point)
        assert bool(found_regions) == (highest[place[:2]] >= place.peak)


def test_the_grids_dice_is_close_to_that_at_native_size() -> None:
    scores = np.zeros((48, 48), np.uint8)
    cv2.circle(scores, (20, 24), 9, 230, cv2.FILLED)
    scores = np.asarray(cv2.GaussianBlur(scores, (7, 7), 0), np.uint8)
    true = np.zeros((500, 620), np.uint8)
    cv2.circle(true, (280, 260), 110, 1, cv2.FILLED)
    table = polyp_table(scores, true > 0)
    for level in range(0, len(LEVELS), 9):
        place = Place(level, 0, 100)
        dice = score_frame("a", scores, true > 0, place.point).dice
        assert dice is not None
        assert abs(table.dice[place] - dice) < 0.01


def test_what_lies_outside_of_the_part_is_missed() -> None:
    scores = np.full((SIDE, SIDE), 200, np.uint8)
    true = np.ones((GRID, 2 * GRID), bool)
    table = polyp_table(scores, true, (0, 0, GRID, GRID))
    assert abs(table.dice[0, 0, 0] - 2 / 3) < 1e-6


def brute_force(
    dice: list[float], recall: list[float], unflagged: list[float], target: float
) -> int:
    places = [number for number in range(len(dice)) if recall[number] > 0] or list(range(len(dice)))
    reached = min(target, max(unflagged[number] for number in places))
    places = [number for number in places if unflagged[number] >= reached - 1e-9]
    best = max(dice[number] for number in places)
    places = [number for number in places if dice[number] >= best - SLACK]
    return min(places, key=lambda number: (-recall[number], number, -dice[number]))


values = st.lists(st.sampled_from([0.0, 0.25, 0.4995, 0.5, 0.5005, 1.0]), min_size=6, max_size=6)


@given(values, values, values, st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_the_choice_is_that_of_the_rule(
    dice: list[float], recall: list[float], unflagged: list[float], target: float
) -> None:
    candidates = Candidates(
        *(np.array(each).reshape(1, 1, 6) for each in (dice, recall, unflagged))
    )
    assert choose(candidates, target) == Place(0, 0, brute_force(dice, recall, unflagged, target))
    assert dice[highest_dice(candidates).peak] == max(dice)


def test_sequences_and_data_sets_weigh_the_same() -> None:
    balance = Balance()
    scores = np.zeros((SIDE, SIDE), np.uint8)
    balance.add_polyp("A", polyp_table(scores, random_mask(0)))
    alarm = np.full((SIDE, SIDE), 100, np.uint8)
    for sequence, frames in (("a", [alarm] * 3 + [scores]), ("b", [scores])):
        for frame in frames:
            balance.add_clean("X", sequence, clean_table(frame))
    balance.add_clean("Y", "a", clean_table(scores))
    unflagged = balance.candidates().unflagged
    assert unflagged is not None
    assert abs(unflagged[0, 0, 0] - (((1 / 4) + 1) / 2 + 1) / 2) < 1e-12
    assert abs(unflagged[0, 0, 101] - 1) < 1e-12
