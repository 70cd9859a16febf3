"""The operating point, chosen on pictures whose red channel is the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.datasets.negatives import CleanFrame, clean_frames
from edge.datasets.pairs import Pair, find_pairs
from edge.errors import DataError
from edge.evaluation.evaluator import evaluate
from edge.evaluation.findings import FLAG_AREA
from edge.frame import OperatingPoint
from edge.imaging.postprocess import regions
from quantize.certify.operating_point import calibrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]
    MakePairs = Callable[..., list[Pair]]

SIZE = 128


def score(image: U8) -> U8:
    return np.ascontiguousarray(image[..., 0])


def disc(radius: float, value: int, peak: int | None = None) -> U8:
    """A score map with one disc (radius 3 is .17 % of it, 30 is 17 %) and an 8 x 8 peak in it."""
    scores = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(scores, (SIZE // 2, SIZE // 2), round(radius), value, cv2.FILLED)
    if peak is not None:
        scores[SIZE // 2 - 4 :, SIZE // 2 - 4 :][:8, :8] = peak
    return scores


def write(folder: Path, name: str, scores: U8, mask: U8 | None) -> None:
    picture = np.dstack([np.zeros_like(scores), np.zeros_like(scores), scores])
    for part, content in (("images", picture), ("masks", mask)):
        if content is not None:
            (folder / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / part / f"{name}.png"), content)


@pytest.fixture
def polyps(tmp_path: Path) -> MakePairs:
    """Pairs of discs of these radii: 200 in 1/256 inside, 0 outside, and a peak in the middle."""

    def make(*radii: float, peak: int | None = None, dataset: str = "SET") -> list[Pair]:
        for number, radius in enumerate(radii):
            scores = disc(radius, 200, peak)
            write(tmp_path / dataset, str(number), scores, (scores > 0).astype(np.uint8) * 255)
        return [
            pair._replace(name=f"{dataset}/{pair.name}") for pair in find_pairs(tmp_path / dataset)
        ]

    return make


@pytest.fixture
def clean(tmp_path: Path) -> Callable[..., list[CleanFrame]]:
    """Frames without a polyp that show a disc of each of the given values all the same."""

    def make(*values: int, radius: float = 20, name: str = "clean") -> list[CleanFrame]:
        for number, value in enumerate(values):
            write(tmp_path / name, f"s{number:02d}_0001", disc(radius, value), None)
        return clean_frames([tmp_path / name])

    return make


def test_without_clean_frames_the_best_dice_decides(polyps: MakePairs) -> None:
    calibration = calibrate(score, polyps(20, 30), [], engine="openvino int8")
    assert calibration.chosen.dice == calibration.best.dice == 1.0
    assert calibration.min_region == FLAG_AREA
    assert (calibration.data, calibration.negatives, calibration.engine) == (
        {"SET": 2},
        {},
        "openvino int8",
    )
    assert [point.threshold for point in calibration.curve] == [k / 8 for k in range(1, 8)]
    assert calibration.curve[-1].dice == 0, "no score reaches .875"
    assert (calibration.specificity, calibration.reached, calibration.fell_short) == (
        0.95,
        None,
        False,
    )
    assert {
        name: (proportion.n, proportion.count)
        for name, proportion in calibration.found_by_set.items()
    } == {"SET": (2, 2)}


def test_the_highest_dice_loses_if_it_flags_clean_frames(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]], tmp_path: Path
) -> None:
    # A rim of 100 around each polyp belongs to it, so that a low threshold has the highest Dice.
    polyps(20, 30)
    for number, radius in enumerate((20, 30)):
        scores = np.maximum(disc(radius, 200), disc(radius + 6, 100))
        write(tmp_path / "SET", str(number), scores, (scores > 0).astype(np.uint8) * 255)
    pairs = [pair._replace(name=f"SET/{pair.name}") for pair in find_pairs(tmp_path / "SET")]
    free = clean(90, 200, 210, radius=10)
    # Frames of 200 and 210 have the peaks of the polyps: they stay flagged whatever is chosen.
    calibration = calibrate(score, pairs, free, engine="openvino int8", specificity=1 / 3)
    assert calibration.best.threshold <= 100 / 256
    assert calibration.best.flagged == 3
    assert calibration.chosen.flagged == 2
    assert calibration.chosen.dice == pytest.approx(calibration.best.dice), "the peak costs no mask"
    assert calibration.chosen.threshold <= 100 / 256
    assert calibration.min_peak == 91 / 256, "the lowest that does it"
    assert calibration.reached == pytest.approx(1 / 3)
    assert not calibration.fell_short


def test_a_useful_peak_close_to_one_is_among_the_candidates(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]]
) -> None:
    calibration = calibrate(
        score, polyps(20, 30, peak=255), clean(253, 254), engine="openvino int8"
    )
    assert (calibration.chosen.found, calibration.chosen.flagged) == (2, 0)
    assert calibration.min_peak == 255 / 256
    assert calibration.chosen.dice == 1.0
    assert calibration.reached == 1.0
    assert calibration.froc[-1].min_peak == 255 / 256
    assert (calibration.froc[-1].overlapped, calibration.froc[-1].flagged) == (1.0, 0.0)
    assert calibration.froc[0].flagged == 1.0


def test_what_no_candidate_reaches_is_told(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]]
) -> None:
    """A goal that no candidate reaches is reported, and the fewest are flagged."""
    # Three of four clean frames have the peak of the polyps; to flag none, no polyp could be found.
    calibration = calibrate(
        score, polyps(20, 30), clean(200, 200, 200, 120), engine="openvino int8"
    )
    assert calibration.fell_short
    assert calibration.reached == pytest.approx(0.25)
    assert (calibration.chosen.found, calibration.chosen.flagged) == (2, 3)


def test_small_alarms_are_left_out_where_no_polyp_is_as_small(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]]
) -> None:
    free = clean(250, radius=3)
    (alarm,) = regions(disc(3, 250), (SIZE, SIZE), OperatingPoint(0.5, 0))
    assert 0.001 < alarm.area < 0.003
    calibration = calibrate(score, polyps(20, 30), free, engine="openvino int8")
    assert calibration.min_region > alarm.area
    assert calibration.chosen.flagged == 0
    # The wanted specificity comes first: a polyp of that size is given up for it.
    lost = calibrate(score, polyps(20, 3), free, engine="openvino int8")
    assert (lost.chosen.found, lost.chosen.flagged) == (1, 0)
    larger = calibrate(score, polyps(20, 3), free, engine="openvino int8", specificity=0)
    assert (larger.chosen.found, larger.chosen.flagged) == (2, 1)


def test_every_hospital_counts_the_same(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]]
) -> None:
    # Nine frames of one hospital are clean of alarms, the one frame of another is not: half is
    # unflagged.
    pairs = [*polyps(*[20] * 5, dataset="A"), *polyps(3, dataset="B")]
    free = [*clean(*[40] * 9, name="quiet"), *clean(230, name="loud")]
    calibration = calibrate(score, pairs, free, engine="openvino int8")
    assert calibration.fell_short
    assert calibration.reached == pytest.approx(0.5)
    assert {
        name: (proportion.n, proportion.count)
        for name, proportion in calibration.flagged_by_set.items()
    } == {
        "quiet": (9, 0),
        "loud": (1, 1),
    }
    assert calibration.flagged_by_sequence["loud/s00"].count == 1
    missed = calibrate(score, pairs, clean(250, radius=3, name="specks"), engine="openvino int8")
    assert missed.chosen.dice == pytest.approx(0.5), "the mean over hospitals, not 5/6 over frames"


def test_the_stated_dice_is_what_an_evaluation_measures(
    polyps: MakePairs, clean: Callable[..., list[CleanFrame]]
) -> None:
    pairs, free = polyps(20, 30, peak=240), clean(210, 60)
    calibration = calibrate(score, pairs, free, engine="openvino int8")
    for figures in (calibration.chosen, calibration.best):
        point = OperatingPoint(figures.threshold, *calibration.limits(figures))
        report = evaluate(pairs, score, clean=free, point=point)
        assert report.dice == figures.dice
        assert report.negatives.flagged == figures.flagged


def test_pairs_without_a_polyp_count_as_clean_frames(polyps: MakePairs, tmp_path: Path) -> None:
    polyps(20)
    write(tmp_path / "SET", "clean", disc(20, 120), np.zeros((SIZE, SIZE), np.uint8))
    calibration = calibrate(score, find_pairs(tmp_path / "SET"), [], engine="tflite int8")
    assert (calibration.data, calibration.negatives) == ({"given": 1}, {"given": 1})
    assert calibration.chosen.flagged == 0


def test_data_that_cannot_choose_is_refused(polyps: MakePairs, tmp_path: Path) -> None:
    polyps(20)
    with pytest.raises(DataError, match="not free of polyps"):
        clean_frames([tmp_path / "SET"])
    with pytest.raises(DataError, match="cannot be chosen"):
        calibrate(score, [], [], engine="openvino int8")
