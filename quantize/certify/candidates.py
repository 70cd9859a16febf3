"""All candidates for an operating point, balanced by data set, and the choice among them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.frame import OperatingPoint
from edge.imaging.postprocess import UNITS
from quantize.certify.point_table import LEVELS, MIN_REGIONS, PEAKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quantize.certify.point_table import PolypTable

    Cube = NDArray[np.float64]

SLACK = 0.002
"""Dice that may be given up to find more polyps."""
RULE = (
    f"candidates are {len(LEVELS)} thresholds from {LEVELS[0]}/{UNITS} to {LEVELS[-1]}/{UNITS}, "
    f"the least regions {', '.join(f'{least:g}' for least in MIN_REGIONS)} and all least peaks "
    f"k/{UNITS}, as far as they find a polyp; of those that leave the wanted share of the clean "
    "frames unflagged (mean over data sets of the mean over sequences), or else of those that flag "
    "the fewest, those whose Dice of the kept regions (mean over data sets of the mean per image) "
    f"lies within {SLACK} of the best; of these the one that finds the polyp on the most frames "
    "(balanced in the same way), then the lowest peak, then the highest Dice, then the smallest "
    "region"
)
_EPSILON = 1e-9


class Place(NamedTuple):
    """A candidate: indices into `LEVELS` and `MIN_REGIONS`, and its minimum peak in 1/256."""

    level: int
    region: int
    peak: int

    @property
    def point(self) -> OperatingPoint:
        """Return the operating point of this candidate."""
        return OperatingPoint(
            LEVELS[self.level] / UNITS, MIN_REGIONS[self.region], self.peak / UNITS
        )


class Candidates(NamedTuple):
    """Figures of every candidate on the validation frames, each (levels, regions, peaks).

    Attributes:
        dice: Mean over data sets of the mean Dice per frame with a polyp.
        found: Mean over data sets of the share of frames on which a kept region touches the polyp.
        unflagged: Mean over data sets of the mean over sequences of the share of clean frames
            without a kept region; None without clean frames.
    """

    dice: Cube
    found: Cube
    unflagged: Cube | None


def reaches(highest: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return whether each minimum peak is reached, (levels, regions, peaks).

    Args:
        highest: (levels, regions) highest scores in 1/256.
    """
    reached: NDArray[np.bool_] = highest[..., None] >= np.arange(PEAKS)
    return reached


class Balance:
    """Averages the tables of frames one by one, with equal weight for each data set."""

    def __init__(self) -> None:
        self._dice: dict[str, Cube] = {}
        self._polyps_found: dict[str, Cube] = {}
        self._frames: Counter[str] = Counter()
        self._clean: list[tuple[tuple[str, str], NDArray[np.int16]]] = []

    def add_polyp(self, dataset: str, table: PolypTable) -> None:
        """Add a frame with a polyp."""
        self._frames[dataset] += 1
        for sums, values in (
            (self._dice, table.dice),
            (self._polyps_found, reaches(table.touching)),
        ):
            sums.setdefault(dataset, np.zeros(table.dice.shape))
            sums[dataset] += values

    def add_clean(self, dataset: str, sequence: str, highest: NDArray[np.int16]) -> None:
        """Add a clean frame by its table from `quantize.certify.point_table.clean_table`."""
        self._clean.append(((dataset, sequence), highest))

    def candidates(self) -> Candidates:
        """Return the figures of all candidates; needs at least one frame with a polyp."""
        dice, polyps_found = (
            np.mean([sums[name] / count for name, count in self._frames.items()], axis=0)
            for sums in (self._dice, self._polyps_found)
        )
        if not self._clean:
            return Candidates(dice, polyps_found, None)
        frames = Counter(place for place, _ in self._clean)
        sequences = Counter(dataset for dataset, _ in frames)
        unflagged = np.zeros(dice.shape)
        for place, highest in self._clean:
            unflagged += ~reaches(highest) / (frames[place] * sequences[place[0]] * len(sequences))
        return Candidates(dice, polyps_found, unflagged)


def choose(candidates: Candidates, specificity: float) -> Place:
    """Choose a candidate by `RULE`.

    Args:
        candidates: Figures of all candidates.
        specificity: Share of the clean frames that must stay unflagged, 0 to 1.
    """
    dice, polyps_found, unflagged = candidates
    allowed = polyps_found > 0 if polyps_found.any() else np.ones(polyps_found.shape, bool)
    if unflagged is not None:
        best = unflagged[allowed].max()
        allowed &= unflagged >= min(specificity, best) - _EPSILON
    near = allowed & (dice >= dice[allowed].max() - SLACK)
    return min(
        (Place(*place) for place in np.argwhere(near).tolist()),
        key=lambda place: (
            -polyps_found[place],
            place.peak,
            -dice[place],
            place.region,
            place.level,
        ),
    )


def highest_dice(candidates: Candidates) -> Place:
    """Return the candidate with the highest Dice, regardless of the clean frames it flags.

    Ties go to the lowest peak, then to the smallest region.
    """
    dice = candidates.dice
    return min(
        (Place(*place) for place in np.argwhere(dice >= dice.max() - _EPSILON).tolist()),
        key=lambda place: (place.peak, place.region, place.level),
    )
