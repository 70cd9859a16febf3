"""The threshold, the least region and the least peak of a bundle, chosen on validation frames."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.bundle.manifest import Calibration, CurvePoint
from edge.contracts import OperatingPoint
from edge.datasets.negatives import find_negatives, read_negatives
from edge.datasets.pairs import read_mask, read_pair
from edge.errors import DataError
from edge.evaluation.metrics import FLAG_AREA
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import UNITS, native_scores, regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.bundle.manifest import Rule
    from edge.contracts import Box, ImageU8, MaskBool
    from edge.datasets.pairs import Pair

SLACK = 0.002
"""Dice that is given away for fewer flagged frames without a polyp."""
LEAST_REGIONS = tuple(step * FLAG_AREA for step in (1, 2, 3, 4, 5))
"""Least regions to choose from, share of the image."""
LEAST_PEAKS = (0.0, 0.8, 0.9, 0.95, 0.97)
"""Least peaks to choose from. Higher ones lose polyps of blurred and compressed pictures of other hospitals."""
RULE = (
    f"of the thresholds k/{UNITS} whose mean Dice per image lies within {SLACK} of the best, of the least regions "
    f"{', '.join(f'{least:g}' for least in LEAST_REGIONS)} and of the least peaks {', '.join(f'{peak:g}' for peak in LEAST_PEAKS)} "
    "that lose no polyp which the best threshold finds, those that flag the fewest polyp-free frames; among equals the "
    "lower peak, then the higher Dice, then the smaller region"
)
_SHOWN = range(32, UNITS, 32)
"""Thresholds of the curve in the manifest, 1/256."""


class _Picture(NamedTuple):
    """A picture's size, its score map and what of the picture that covers."""

    size: tuple[int, int]
    scores: ImageU8
    part: Box | None


class _Counts(NamedTuple):
    """By least region and least peak, (regions, peaks): polyps that were found, polyp-free frames that were flagged."""

    found: NDArray[np.int64]
    flagged: NDArray[np.int64]


class _Found(NamedTuple):
    """A region: its share of the picture, its highest score, its outline as (n, 2) frame pixels."""

    area: float
    peak: float
    outline: NDArray[np.int32]


def calibrate(
    score: Callable[[ImageU8], ImageU8],
    pairs: Sequence[Pair],
    negatives: Sequence[Path],
    *,
    engine: str,
    rule: Rule = "full-frame",
) -> Calibration:
    """Choose threshold, least region and least peak by `RULE`.

    Args:
        score: (H, W, 3) uint8 RGB, what the rule shows -> (h, w) uint8 scores in 1/256.
        pairs: Validation images and masks; those with an empty mask count as negatives.
        negatives: Folders of validation frames without a polyp.
        engine: What `score` runs, for the record.
        rule: What of a picture `score` is shown.

    Raises:
        DataError: An image or mask cannot be used, or no pair has a polyp.
    """
    polyps: list[tuple[Pair, _Picture]] = []
    clean: list[_Picture] = []
    curves, sets = [], {}
    for pair in pairs:
        image, true = read_pair(pair.image, pair.mask)
        picture = _scored(image, score, rule)
        if true.any():
            polyps.append((pair, picture))
            curves.append(dice_curve(picture.scores, true, picture.part))
        else:
            clean.append(picture)
    if clean:
        sets["validation pairs"] = len(clean)
    for folder in negatives:
        sets[folder.name] = len(find_negatives(folder))
        for _, image in read_negatives(folder):
            clean.append(_scored(image, score, rule))
    if not polyps:
        raise DataError("a threshold cannot be chosen", expected="validation frames with a polyp", got="none")
    dice = np.mean(curves, axis=0)
    best = int(np.argmax(dice[1:])) + 1
    near = [level for level in range(1, UNITS) if dice[level] >= dice[best] - SLACK]
    counts = _count(polyps, clean, sorted({*near, *_SHOWN}))
    at_best = counts[best].found[0, 0]
    level, least, peak = min(
        (
            (level, least, peak)
            for level in near
            for least, peak in np.ndindex(counts[level].found.shape)
            if counts[level].found[least, peak] >= at_best
        ),
        key=lambda place: (counts[place[0]].flagged[place[1:]], place[2], -dice[place[0]], place[1]),
    )

    def point(level: int) -> CurvePoint:
        return CurvePoint(
            threshold=level / UNITS,
            dice=float(dice[level]),
            found=int(counts[level].found[least, peak]),
            flagged=int(counts[level].flagged[least, peak]),
        )

    return Calibration(
        rule=RULE,
        engine=engine,
        data=_by_set([pair for pair, _ in polyps]),
        negatives=sets,
        min_region=LEAST_REGIONS[least],
        least_peak=LEAST_PEAKS[peak],
        best=point(best),
        chosen=point(level),
        curve=[point(shown) for shown in _SHOWN],
    )


def _scored(image: ImageU8, score: Callable[[ImageU8], ImageU8], rule: Rule) -> _Picture:
    part = seen_part(image, rule)
    return _Picture((image.shape[0], image.shape[1]), score(cut(image, part)).copy(), part)


def dice_curve(scores: ImageU8, true: MaskBool, part: Box | None = None) -> NDArray[np.float64]:
    """Dice at native size of every threshold, (256,): entry k is that of `score >= k / 256`.

    Args:
        scores: (h, w) uint8 in 1/256.
        true: (H, W) bool, not empty.
        part: What of the picture the scores cover; None for all of it.
    """
    # Scaling by a power of two is exact, so that a step is reached where the threshold itself is.
    native = native_scores(scores, (true.shape[0], true.shape[1]), part)
    steps = np.floor(native * UNITS).astype(np.int64)
    found = _reached(np.bincount(steps.ravel(), minlength=UNITS))
    both = _reached(np.bincount(steps[true], minlength=UNITS))
    return 2 * both / (found + np.count_nonzero(true))


def _reached(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of how many values there are at each step, how many there are from it on."""
    return np.cumsum(counts[::-1])[::-1]


def _count(
    polyps: Sequence[tuple[Pair, _Picture]], clean: Sequence[_Picture], levels: Sequence[int]
) -> dict[int, _Counts]:
    """Polyps found and frames flagged, for every threshold (1/256), least region and least peak."""
    shape = (len(LEAST_REGIONS), len(LEAST_PEAKS))
    counts = {level: _Counts(np.zeros(shape, np.int64), np.zeros(shape, np.int64)) for level in levels}
    for pair, picture in polyps:
        true = read_mask(pair.mask)
        for level, held in counts.items():
            _add(held.found, [one for one in _regions(picture, level) if _touches(one.outline, true)])
    for picture in clean:
        for level, held in counts.items():
            _add(held.flagged, list(_regions(picture, level)))
    return counts


def _add(counts: NDArray[np.int64], found: Sequence[_Found]) -> None:
    """Count a picture wherever one of its regions is kept."""
    for (row, least), (column, peak) in itertools.product(enumerate(LEAST_REGIONS), enumerate(LEAST_PEAKS)):
        counts[row, column] += any(one.area >= least and one.peak >= peak for one in found)


def _regions(picture: _Picture, level: int) -> Iterator[_Found]:
    """Every region of at least the smallest size."""
    point = OperatingPoint(level / UNITS, LEAST_REGIONS[0])
    for region in regions(picture.scores, picture.size, point, part=picture.part):
        yield _Found(region.area, region.score, np.array(region.contour, np.int32))


def _touches(outline: NDArray[np.int32], true: MaskBool) -> bool:
    """Whether a polygon has a pixel of the mask in it."""
    left, top, width, height = cv2.boundingRect(outline)
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, [outline[:, None]], 0, 1, cv2.FILLED, offset=(-left, -top))
    y, x = max(top, 0), max(left, 0)
    shown = true[y : top + height, x : left + width]
    return bool(
        (inside[y - top :, x - left :][: shown.shape[0], : shown.shape[1]].astype(bool) & shown).any()
    )


def _by_set(pairs: Sequence[Pair]) -> dict[str, int]:
    """Frames of each data set; a pair's stands before the slash in its name."""
    counts: dict[str, int] = {}
    for pair in pairs:
        name = pair.name.partition("/")[0] if "/" in pair.name else "given"
        counts[name] = counts.get(name, 0) + 1
    return counts
