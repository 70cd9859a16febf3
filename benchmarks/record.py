"""The typed record of a comparison, and the statistics that make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

# msgspec reads the annotations when a record is decoded.
from edge.util.host import Device  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_RESAMPLES = 2000


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a comparison: what it is, and its samples in the order in which they were taken."""

    what: str
    samples: list[float]

    @property
    def median(self) -> float:
        """Median of the samples."""
        return float(np.median(self.samples))


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that this project promises.

    Attributes:
        what: The quantity, with its unit.
        value: Measured.
        bound: Promised.
        at_least: Whether `bound` is a lower bound, else an upper one.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the promise holds here."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark found, before the machine is added.

    Attributes:
        check: The correctness check that was passed before anything was timed, in words with its
            figures.
        unit: Unit of both sides.
        left: The one that is looked at.
        right: The one that it is compared with.
        ratio: Median left over median right.
        ratio_ci95: Paired bootstrap interval of the ratio over the rounds.
        goal: The promise, None where the figure is only reported.
        settings: Effective settings of what was run.
    """

    check: str
    unit: str
    left: Side
    right: Side
    ratio: float
    ratio_ci95: tuple[float, float]
    goal: Goal | None
    settings: dict[str, object]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with what it was measured on.

    Attributes:
        name: Of the benchmark.
        what: The question that it answers.
        comparison: The figures.
        valid: The environment guard saw nothing that spoils them.
        reason: What it saw.
        device: The machine.
        versions: Software.
        created: UTC, ISO 8601.
    """

    name: str
    what: str
    comparison: Comparison
    valid: bool
    reason: str | None
    device: Device
    versions: dict[str, str | None]
    created: str


def compare(
    left: Side, right: Side, *, check: str, unit: str, goal: Goal | None = None, **settings: object
) -> Comparison:
    """A comparison of two sides whose samples were taken in turn: sample i of both belongs to round i."""
    ratio, interval = ratio_with_interval(left.samples, right.samples)
    return Comparison(
        check=check,
        unit=unit,
        left=left,
        right=right,
        ratio=ratio,
        ratio_ci95=interval,
        goal=goal,
        settings=settings,
    )


def interleave(*sides: Callable[[], float], rounds: int) -> list[list[float]]:
    """Run the sides in turn, so that a drift of the machine meets all of them alike.

    Every other round runs them in the opposite order: none always follows the same neighbour.

    Args:
        sides: Each runs once and returns its own measure.
        rounds: How often.

    Returns:
        One list of `rounds` measures for each side.
    """
    found: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            found[side].append(sides[side]())
    return found


def ratio_with_interval(
    left: Sequence[float], right: Sequence[float], *, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Ratio of the medians, left over right, with its 95 % bootstrap interval.

    Args:
        left: Positive measures, one for each round.
        right: As many, of the same rounds: a round is drawn with both of its measures.
        seed: Of the resampling.
    """
    pairs = np.array([left, right], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(pairs.shape[1], size=(_RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    middle = np.median(pairs, axis=1)
    return float(middle[0] / middle[1]), (float(low), float(high))
