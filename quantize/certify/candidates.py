"""All candidates for an operating point on the validation frames, balanced by hospital, and the choice among them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.frame import OperatingPoint
from edge.imaging.postprocess import UNITS
from quantize.certify.point_table import LEAST_REGIONS, LEVELS, PEAKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from quantize.certify.point_table import PolypTable

    Cube = NDArray[np.float64]

SLACK = 0.002
"""Dice that is given away for more polyps found."""
RULE = (
    f"candidates are {len(LEVELS)} thresholds from {LEVELS[0]}/{UNITS} to {LEVELS[-1]}/{UNITS}, the least regions "
    f"{', '.join(f'{least:g}' for least in LEAST_REGIONS)} and all least peaks k/{UNITS}, as far as they find a polyp; of "
    "those that leave the wanted share of the clean frames unflagged (mean over data sets of the mean over "
    "sequences), or else of those that flag the fewest, those whose Dice of the kept regions (mean over data sets of "
    f"the mean per image) lies within {SLACK} of the best; of these the one that finds the polyp on the most frames "
    "(balanced in the same way), then the lowest peak, then the highest Dice, then the smallest region"
)
_EPSILON = 1e-9


class Place(NamedTuple):
    """A candidate: its places in `LEVELS` and `LEAST_REGIONS`, and its least peak in 1/256."""

    level: int
    region: int
    peak: int

    @property
    def point(self) -> OperatingPoint:
        """The operating point that it stands for."""
        return OperatingPoint(
            LEVELS[self.level] / UNITS, LEAST_REGIONS[self.region], self.peak / UNITS
        )


class Candidates(NamedTuple):
    """What every candidate does on the validation frames, (levels, regions, peaks) each.

    Attributes:
        dice: Mean over data sets of the mean Dice per frame with a polyp.
        found: Mean over data sets of the share of frames on which a kept region touches the polyp.
        unflagged: Mean over data sets of the mean over sequences of the share of clean frames that
            have no kept region; None without clean frames.
    """

    dice: Cube
    found: Cube
    unflagged: Cube | None


def reaches(highest: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Whether a highest score in 1/256, (levels, regions), reaches each least peak: (levels, regions, peaks)."""
    reached: NDArray[np.bool_] = highest[..., None] >= np.arange(PEAKS)
    return reached


class Balance:
    """Averages the tables of frames, each data set with the same weight, one frame after the other."""

    def __init__(self) -> None:
        self._dice: dict[str, Cube] = {}
        self._found: dict[str, Cube] = {}
        self._frames: Counter[str] = Counter()
        self._clean: list[tuple[tuple[str, str], NDArray[np.int16]]] = []

    def add_polyp(self, dataset: str, table: PolypTable) -> None:
        """Take in a frame with a polyp."""
        self._frames[dataset] += 1
        for sums, values in ((self._dice, table.dice), (self._found, reaches(table.touching))):
            sums.setdefault(dataset, np.zeros(table.dice.shape))
            sums[dataset] += values

    def add_clean(self, dataset: str, sequence: str, highest: NDArray[np.int16]) -> None:
        """Take in a frame without a polyp, as `quantize.certify.point_table.clean_table` describes it."""
        self._clean.append(((dataset, sequence), highest))

    def candidates(self) -> Candidates:
        """The figures of all candidates, of at least one frame with a polyp."""
        dice, found = (
            np.mean([sums[name] / count for name, count in self._frames.items()], axis=0)
            for sums in (self._dice, self._found)
        )
        if not self._clean:
            return Candidates(dice, found, None)
        frames = Counter(place for place, _ in self._clean)
        sequences = Counter(dataset for dataset, _ in frames)
        unflagged = np.zeros(dice.shape)
        for place, highest in self._clean:
            unflagged += ~reaches(highest) / (frames[place] * sequences[place[0]] * len(sequences))
        return Candidates(dice, found, unflagged)


def choose(candidates: Candidates, specificity: float) -> Place:
    """Choose by `RULE`.

    Args:
        candidates: Their figures.
        specificity: Share of the clean frames that is to stay unflagged, 0 to 1.
    """
    dice, found, unflagged = candidates
    allowed = found > 0 if found.any() else np.ones(found.shape, bool)
    if unflagged is not None:
        best = unflagged[allowed].max()
        allowed &= unflagged >= min(specificity, best) - _EPSILON
    near = allowed & (dice >= dice[allowed].max() - SLACK)
    return min(
        (Place(*place) for place in np.argwhere(near).tolist()),
        key=lambda place: (-found[place], place.peak, -dice[place], place.region, place.level),
    )


def highest_dice(candidates: Candidates) -> Place:
    """The candidate of the highest Dice, whatever it flags; of equals the lowest peak, then the smallest region."""
    dice = candidates.dice
    return min(
        (Place(*place) for place in np.argwhere(dice >= dice.max() - _EPSILON).tolist()),
        key=lambda place: (place.peak, place.region, place.level),
    )
