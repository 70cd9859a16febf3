"""Paired differences of two measurements on the same images, with their bootstrap interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.errors import DataError
from edge.evaluation.intervals import interval, resampled_means

if TYPE_CHECKING:
    from collections.abc import Sequence


class Difference(NamedTuple):
    """Mean of the differences per image, with the 95 % interval over resampled images.

    Attributes:
        mean: Mean of `right - left`.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of images.
    """

    mean: float
    low: float
    high: float
    n: int


def paired_difference(left: Sequence[float], right: Sequence[float]) -> Difference:
    """Compare two measurements image by image.

    Args:
        left: One value per image.
        right: Values of the same images in the same order.

    Raises:
        DataError: The lists differ in length, or there is no image.
    """
    if len(left) != len(right) or not left:
        raise DataError(
            "the measurements cannot be paired",
            expected="values of the same images, at least one",
            got=f"{len(left)} and {len(right)} values",
        )
    values = np.asarray(right, np.float64) - np.asarray(left, np.float64)
    low, high = interval(resampled_means(values[:, None])[:, 0])
    return Difference(float(values.mean()), low, high, len(values))
