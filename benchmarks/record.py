"""Typed record of a comparison, and its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

# msgspec reads these annotations when it decodes a record.
from edge.util.host import Device  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_RESAMPLES = 2000


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a comparison: a description, and its samples in the order of measurement."""

    what: str
    samples: list[float]

    @property
    def median(self) -> float:
        """Median of the samples."""
        return float(np.median(self.samples))


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that this project promises.

    Attributes:
        what: Quantity and unit.
        value: Measured value.
        bound: Promised value.
        at_least: Whether `bound` is a lower bound instead of an upper one.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the measured value keeps the promise."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a benchmark without the machine.

    Attributes:
        check: The correctness check that was passed before anything was timed, in words with its
            figures.
        unit: Unit of both sides.
        left: The side of interest.
        right: The side that it is compared with.
        ratio: Median left over median right.
        ratio_ci95: Paired bootstrap interval of the ratio over the rounds.
        goal: The promise; None if the figure is only reported.
        settings: Effective settings of the measured code.
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
    """A comparison with the machine that it was measured on.

    Attributes:
        name: Name of the benchmark.
        what: Question that it answers.
        comparison: The figures.
        valid: Whether the environment guard saw no disturbance.
        reason: Disturbance that the guard saw.
        device: The machine.
        versions: Software versions.
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
    """Compare two sides that were sampled in turn: sample i of both belongs to round i."""
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
    """Run the sides in turn, so that drift of the machine affects all of them alike.

    Every second round runs them in the opposite order, so that no side always follows the same one.

    Args:
        sides: Functions that run once and return their own measurement.
        rounds: Number of rounds.

    Returns:
        One list of `rounds` measurements for each side.
    """
    samples: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            samples[side].append(sides[side]())
    return samples


def ratio_with_interval(
    left: Sequence[float], right: Sequence[float], *, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Return the ratio of the medians, left over right, with its 95 % bootstrap interval.

    Args:
        left: Positive measurements, one for each round.
        right: Measurements of the same rounds; a round is resampled with both.
        seed: Random seed of the resampling.
    """
    pairs = np.array([left, right], dtype=np.float64)
    picks = np.random.default_rng(seed).integers(pairs.shape[1], size=(_RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, picks], axis=2)
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    middle = np.median(pairs, axis=1)
    return float(middle[0] / middle[1]), (float(low), float(high))
