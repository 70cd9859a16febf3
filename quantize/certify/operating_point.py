"""Choose threshold, minimum region and minimum peak on validation frames of all data sets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edge.bundle.manifest import Calibration, CurvePoint, Proportion
from edge.datasets.negatives import CleanFrame, sequence_of
from edge.datasets.pairs import read_image, read_mask, read_pair
from edge.errors import DataError
from edge.evaluation.evaluator import score_frame
from edge.evaluation.metrics import summarize
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import UNITS
from quantize.certify.candidates import RULE, Balance, Place, choose, highest_dice
from quantize.certify.point_table import LEVELS, clean_table, polyp_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport
    from edge.frame import Box, FieldOfView, ImageU8, OperatingPoint

SPECIFICITY = 0.95
"""Default share of the clean validation frames that must stay unflagged."""
_CURVE_LEVELS = range(32, UNITS, 32)
"""Thresholds of the curve in the manifest, in 1/256."""


class _Scored(NamedTuple):
    """A validation frame and its scores.

    Attributes:
        name: Name of the frame.
        dataset: Data set of the frame.
        sequence: Video sequence inside the data set.
        pair: Image and mask; None for a frame without a polyp.
        size: Height and width.
        scores: (h, w) uint8 in 1/256.
        part: Part of the frame that the scores cover; None for the whole frame.
        highest: (levels, regions) highest score in 1/256 of a region that each candidate keeps; on
            a frame with a polyp, of a region that touches it. -1 without such a region.
    """

    name: str
    dataset: str
    sequence: str
    pair: Pair | None
    size: tuple[int, int]
    scores: ImageU8
    part: Box | None
    highest: NDArray[np.int16]


def calibrate(
    score: Callable[[ImageU8], ImageU8],
    pairs: Sequence[Pair],
    clean: Sequence[CleanFrame],
    *,
    engine: str,
    rule: FieldOfView = "full-frame",
    specificity: float = SPECIFICITY,
) -> Calibration:
    """Choose threshold, minimum region and minimum peak by `quantize.certify.candidates.RULE`.

    If no candidate leaves the wanted share of clean frames unflagged, the choice is among those
    that flag the fewest, and `Calibration.fell_short` is true.

    Args:
        score: Maps (H, W, 3) uint8 RGB, the part that `rule` shows, to (h, w) uint8 scores in
        1/256.
        pairs: Validation images and masks, named `data set/stem`; a pair with an empty mask counts
            as clean.
        clean: Clean validation frames.
        engine: Name of the engine behind `score`, for the record.
        rule: Part of a frame that `score` receives.
        specificity: Share of the clean frames that must stay unflagged, 0 to 1.

    Raises:
        DataError: An image or mask cannot be used, or no pair has a polyp.
    """
    balance = Balance()
    frames = _score_all(score, pairs, clean, rule, balance)
    polyps, free = [
        [one for one in frames if (one.pair is None) == empty] for empty in (False, True)
    ]
    if not polyps:
        raise DataError(
            "a threshold cannot be chosen", expected="validation frames with a polyp", got="none"
        )
    candidates = balance.candidates()
    chosen, best = choose(candidates, specificity), highest_dice(candidates)
    report = _evaluated(frames, chosen.point)

    def point(place: Place, exact: EvaluationReport | None = None) -> CurvePoint:
        return CurvePoint(
            threshold=place.point.threshold,
            dice=float(candidates.dice[place]) if exact is None else _balanced_dice(exact),
            found=_reaching(polyps, place),
            flagged=_reaching(free, place),
            min_region=place.point.min_region,
            min_peak=place.point.min_peak,
        )

    counts = report.detection
    assert counts is not None, "every row holds its findings"
    return Calibration(
        rule=RULE,
        engine=engine,
        data=dict(Counter(one.dataset for one in polyps)),
        negatives=dict(Counter(one.dataset for one in free)),
        min_region=chosen.point.min_region,
        min_peak=chosen.point.min_peak,
        best=point(best, _evaluated(polyps, best.point)),
        chosen=point(chosen, report),
        curve=[point(chosen._replace(level=LEVELS.index(level))) for level in _CURVE_LEVELS],
        specificity=specificity,
        reached=None if candidates.unflagged is None else float(candidates.unflagged[chosen]),
        found_by_set={
            name: Proportion(n=group.polyps, count=group.overlapped)
            for name, group in counts.by_set.items()
            if group.polyps
        },
        flagged_by_set={
            name: Proportion(n=group.clean, count=group.flagged)
            for name, group in counts.by_set.items()
            if group.clean
        },
        flagged_by_sequence={
            name: Proportion(n=group.clean, count=group.flagged)
            for name, group in counts.by_sequence.items()
            if group.clean
        },
        froc=counts.froc,
    )


def _score_all(
    score: Callable[[ImageU8], ImageU8],
    pairs: Sequence[Pair],
    clean: Sequence[CleanFrame],
    rule: FieldOfView,
    balance: Balance,
) -> list[_Scored]:
    """Score every frame once and add the result of each candidate to the balance."""
    frames = []
    for pair in pairs:
        image, true = read_pair(pair.image, pair.mask)
        scores, part = _scores(image, score, rule)
        dataset, _, stem = pair.name.rpartition("/")
        dataset, sequence = dataset or "given", sequence_of(stem)
        if true.any():
            table = polyp_table(scores, true, part)
            balance.add_polyp(dataset, table)
            highest = table.touching
        else:
            highest = clean_table(scores)
            balance.add_clean(dataset, sequence, highest)
        polyp_pair = pair if true.any() else None
        size = (image.shape[0], image.shape[1])
        frames.append(
            _Scored(pair.name, dataset, sequence, polyp_pair, size, scores, part, highest)
        )
    for frame in clean:
        image = read_image(frame.image)
        scores, part = _scores(image, score, rule)
        highest = clean_table(scores)
        balance.add_clean(frame.dataset, frame.sequence, highest)
        size = (image.shape[0], image.shape[1])
        frames.append(
            _Scored(frame.name, frame.dataset, frame.sequence, None, size, scores, part, highest)
        )
    return frames


def _scores(
    image: ImageU8, score: Callable[[ImageU8], ImageU8], rule: FieldOfView
) -> tuple[ImageU8, Box | None]:
    part = seen_part(image, rule)
    return score(cut(image, part)).copy(), part


def _evaluated(frames: Sequence[_Scored], point: OperatingPoint) -> EvaluationReport:
    """Evaluate an operating point at native mask size."""
    rows = []
    for frame in frames:
        true = np.zeros(frame.size, bool) if frame.pair is None else read_mask(frame.pair.mask)
        row = score_frame(frame.name, frame.scores, true, point, part=frame.part)
        rows.append(msgspec.structs.replace(row, dataset=frame.dataset, sequence=frame.sequence))
    return summarize(rows, point=point)


def _balanced_dice(report: EvaluationReport) -> float:
    """Return the mean over data sets of the mean Dice per image."""
    dice: dict[str, list[float]] = {}
    for row in report.per_image:
        if row.dice is not None:
            dice.setdefault(row.dataset, []).append(row.dice)
    return float(np.mean([np.mean(values) for values in dice.values()]))


def _reaching(frames: Sequence[_Scored], place: Place) -> int:
    """Count the frames on which a candidate keeps a relevant region."""
    return sum(int(frame.highest[place.level, place.region]) >= place.peak for frame in frames)
