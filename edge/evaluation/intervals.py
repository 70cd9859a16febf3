"""95 % intervals of means and shares: Wilson's, and bootstrap over images or clusters of images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DRAWS = 2000
_Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""
_BLOCK = 1 << 20


def wilson(count: int, n: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share of independent cases.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.

    Args:
        count: Number of events.
        n: Number of cases, at least 1.
    """
    share, z2 = count / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def resampled_means(
    values: NDArray[np.float64], *, seed: int = 0, draws: int = _DRAWS
) -> NDArray[np.float64]:
    """Compute the means of bootstrap resamples of images.

    Args:
        values: (n, k), k values of each of n images.
        seed: Seed of the draws; the same seed and n give the same resamples.
        draws: Number of resamples.

    Returns:
        (draws, k).
    """
    n = len(values)
    generator = np.random.default_rng(seed)
    # Work in blocks, so that the draws of a large data set do not fill the memory.
    block = max(1, _BLOCK // n)
    means = []
    for begin in range(0, draws, block):
        rows = min(block, draws - begin)
        chosen = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        means.append(np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n) @ values / n)
    return np.concatenate(means)


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile 95 % interval of a statistic's bootstrap draws, (draws,)."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_ci(
    values: Sequence[float], *, seed: int = 0, draws: int = _DRAWS
) -> tuple[float, float]:
    """Compute the percentile bootstrap 95 % interval of a mean.

    Args:
        values: One value per image.
        seed: Seed of the draws; the same seed gives the same interval.
        draws: Number of resamples.

    Raises:
        DataError: There are no values.
    """
    if len(values) == 0:
        raise DataError("an interval of no values", expected="at least one image with a polyp")
    data = np.asarray(values, dtype=np.float64)
    return interval(resampled_means(data[:, None], seed=seed, draws=draws)[:, 0])


def clustered_ci(
    clusters: Sequence[tuple[int, int]], *, seed: int = 0, draws: int = _DRAWS
) -> tuple[float, float]:
    """Compute the percentile bootstrap 95 % interval of a share whose cases come in clusters.

    Frames of one video sequence resemble each other, so whole sequences are drawn with replacement;
    the share of a draw is the sum of its events over the sum of its cases. A single cluster gives
    an interval of zero width, which does not tell how other sequences would score.

    Args:
        clusters: Events and cases of each cluster; a cluster has at least one case.
        seed: Seed of the draws; the same seed gives the same interval.
        draws: Number of resamples.

    Raises:
        DataError: There are no clusters.
    """
    if len(clusters) == 0:
        raise DataError("an interval of no sequence", expected="at least one frame without a polyp")
    means = resampled_means(np.asarray(clusters, dtype=np.float64), seed=seed, draws=draws)
    return interval(means[:, 0] / means[:, 1])
