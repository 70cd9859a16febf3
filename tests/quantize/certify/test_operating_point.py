"""Threshold and least region, chosen on pictures whose red channel is the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.contracts import OperatingPoint
from edge.datasets.pairs import Pair, find_pairs
from edge.errors import DataError
from edge.evaluation.evaluator import evaluate
from edge.evaluation.metrics import FLAG_AREA
from edge.imaging.postprocess import regions
from quantize.certify.operating_point import SLACK, calibrate, dice_curve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]

SIZE = 128


def score(image: U8) -> U8:
    return np.ascontiguousarray(image[..., 0])


def disc(radius: float, value: int) -> U8:
    """A score map with one disc; a radius of 3 is .17 % of it, one of 30 is 17 %."""
    scores = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(scores, (SIZE // 2, SIZE // 2), round(radius), value, cv2.FILLED)
    return scores


def write(folder: Path, name: str, scores: U8, mask: U8 | None) -> None:
    picture = np.dstack([np.zeros_like(scores), np.zeros_like(scores), scores])
    for part, content in (("images", picture), ("masks", mask)):
        if content is not None:
            (folder / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / part / f"{name}.png"), content)


@pytest.fixture
def polyps(tmp_path: Path) -> Callable[..., list[Pair]]:
    """Pairs of discs of the given radii, 200 in 1/256 inside and nothing outside."""

    def make(*radii: float) -> list[Pair]:
        for number, radius in enumerate(radii):
            scores = disc(radius, 200)
            write(tmp_path / "polyps", str(number), scores, (scores > 0).astype(np.uint8) * 255)
        return [pair._replace(name=f"SET/{pair.name}") for pair in find_pairs(tmp_path / "polyps")]

    return make


def test_the_curve_is_what_an_evaluation_measures_at_each_threshold(
    tmp_path: Path, tiny_scene: Callable[..., U8]
) -> None:
    generator = np.random.default_rng(0)
    image = tiny_scene(1, height=90, width=120)
    mask = (image[..., 0] > 180).astype(np.uint8) * 255
    write(tmp_path, "0", image[..., 0], mask)
    small = cv2.resize(generator.integers(0, 256, (8, 8)).astype(np.uint8), (30, 22))
    curve = dice_curve(small, mask > 0)
    for step in (1, 37, 128, 200, 255):
        report = evaluate(find_pairs(tmp_path), lambda _: small, point=OperatingPoint(step / 256))
        assert curve[step] == pytest.approx(report.dice, abs=1e-12)


def test_without_negatives_the_best_dice_decides(polyps: Callable[..., list[Pair]]) -> None:
    found = calibrate(score, polyps(20, 30), [], engine="openvino int8")
    assert found.chosen == found.best
    assert found.chosen.dice == 1.0
    assert found.min_region == FLAG_AREA
    assert (found.data, found.negatives, found.engine) == ({"SET": 2}, {}, "openvino int8")
    assert [point.threshold for point in found.curve] == [k / 8 for k in range(1, 8)]
    assert found.curve[-1].dice == 0, "no score reaches .875"


def test_a_threshold_that_costs_no_dice_is_moved_off_false_alarms(
    polyps: Callable[..., list[Pair]], tmp_path: Path
) -> None:
    clean = tmp_path / "clean"
    for number, value in enumerate((100, 140, 150)):
        write(clean, str(number), disc(20, value), None)
    found = calibrate(score, polyps(20, 30), [clean], engine="openvino int8")
    assert found.best.flagged == 3
    assert found.chosen.flagged == 0
    assert 150 / 256 < found.chosen.threshold <= 200 / 256
    assert found.chosen.dice >= found.best.dice - SLACK
    assert found.negatives == {"clean": 3}


def test_small_alarms_are_left_out_where_no_polyp_is_as_small(
    polyps: Callable[..., list[Pair]], tmp_path: Path
) -> None:
    clean = tmp_path / "clean"
    write(clean, "0", disc(3, 250), np.zeros((SIZE, SIZE), np.uint8))
    (alarm,) = regions(disc(3, 250), (SIZE, SIZE), OperatingPoint(0.5, 0))
    assert 0.001 < alarm.area < 0.003
    found = calibrate(score, polyps(20, 30), [clean], engine="openvino int8")
    assert found.min_region > alarm.area
    assert found.chosen.flagged == 0
    # A polyp of that size is worth more than a false alarm.
    kept = calibrate(score, polyps(20, 3), [clean], engine="openvino int8")
    assert kept.min_region < alarm.area
    assert (kept.chosen.found, kept.chosen.flagged) == (2, 1)


def test_faint_alarms_are_left_out_where_every_polyp_has_a_bright_place(
    polyps: Callable[..., list[Pair]], tmp_path: Path
) -> None:
    clean, pairs = tmp_path / "clean", polyps(20, 30)
    # As large as a polyp and over every threshold that the polyps' rims allow.
    write(clean, "0", disc(20, 220), None)
    assert calibrate(score, pairs, [clean], engine="openvino int8").chosen.flagged == 1
    for pair in pairs:
        picture = cv2.imread(str(pair.image))
        assert picture is not None
        picture[SIZE // 2 - 4 :, SIZE // 2 - 4 :, 2][:8, :8] = 235
        cv2.imwrite(str(pair.image), picture)
    found = calibrate(score, pairs, [clean], engine="openvino int8")
    assert (found.chosen.found, found.chosen.flagged) == (2, 0)
    assert found.least_peak == 0.9, "the lowest that does it"
    assert found.min_region == FLAG_AREA


def test_pairs_without_a_polyp_count_as_negatives(polyps: Callable[..., list[Pair]], tmp_path: Path) -> None:
    polyps(20)
    write(tmp_path / "polyps", "clean", disc(20, 120), np.zeros((SIZE, SIZE), np.uint8))
    found = calibrate(score, find_pairs(tmp_path / "polyps"), [], engine="tflite int8")
    assert (found.data, found.negatives) == ({"given": 1}, {"validation pairs": 1})
    assert found.chosen.threshold > 120 / 256


def test_data_that_cannot_choose_is_refused(polyps: Callable[..., list[Pair]], tmp_path: Path) -> None:
    pairs = polyps(20)
    with pytest.raises(DataError, match="not free of polyps"):
        calibrate(score, pairs, [tmp_path / "polyps"], engine="openvino int8")
    with pytest.raises(DataError, match="cannot be chosen"):
        calibrate(score, [], [], engine="openvino int8")
