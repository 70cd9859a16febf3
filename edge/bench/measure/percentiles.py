"""Latency percentiles that hold with 99 % confidence; without enough samples there is no value.

This is the early-stopping rule of MLPerf Inference (LoadGen, `early_stopping.cc`): for q samples,
take the largest t with P(Bin(q, 1 - p) <= t) <= 0.01, drop the t - 1 largest samples and report the
largest remaining one. The true p-quantile is above that value with a probability of at most 1 %. If
t is 0, there are too few samples for the percentile: the maximum of a short run says nothing about
its tail.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p97": 0.97, "p99": 0.99, "p99.9": 0.999}
"""The percentiles of a record, as shares of the samples."""

CONFIDENCE = 0.99


def tail_allowance(samples: int, p: float, *, confidence: float = CONFIDENCE) -> int:
    """The rule's t: the largest t with P(Bin(samples, 1 - p) <= t) <= 1 - confidence.

    Args:
        samples: Number of samples q.
        p: Percentile as a share, between 0 and 1.
        confidence: Probability with which the estimate must not be below the true quantile.

    Returns:
        t, 0 if no t >= 1 satisfies the inequality.
    """
    # Work in log space: 0.5 ** samples is 0 in double precision from 1075 samples on. Above the
    # mean of the distribution the cumulative probability is at least about 0.5, so the search ends
    # there.
    k = np.arange(1, int(samples * (1 - p)) + 1, dtype=np.float64)
    steps = np.log((samples - k + 1) / k) + np.log((1 - p) / p)
    log_mass = samples * np.log(p) + np.concatenate([[0.0], np.cumsum(steps)])
    log_cumulative = np.logaddexp.accumulate(log_mass)
    below = int(np.searchsorted(log_cumulative, np.log(1 - confidence), side="right"))
    return max(below - 1, 0)


@cache
def min_samples(p: float) -> int:
    """Return the minimum number of samples for which the rule has a value for percentile `p`."""
    enough = 1
    while tail_allowance(enough, p) < 1:
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (short + enough) // 2
        if tail_allowance(middle, p) < 1:
            short = middle
        else:
            enough = middle
    return enough


def upper_bound(samples: Sequence[float], p: float) -> float | None:
    """Compute the early-stopping estimate of percentile `p`: an upper bound at 99 % confidence.

    Args:
        samples: Latencies in any unit and order.
        p: Percentile as a share.

    Returns:
        The estimate in the samples' unit, None below `min_samples(p)`.
    """
    t = tail_allowance(len(samples), p)
    return float(np.sort(samples)[-t]) if t else None


def plain_quantile(samples: Sequence[float], p: float) -> float | None:
    """Return the ceil(p q)-th smallest sample; None below `min_samples(p)`, as for the bound."""
    if len(samples) < min_samples(p):
        return None
    return float(np.quantile(samples, p, method="inverted_cdf"))


def bounds(samples: Sequence[float]) -> dict[str, float | None]:
    """Return `upper_bound` for every percentile of a record."""
    return {name: upper_bound(samples, p) for name, p in PERCENTILES.items()}


def quantiles(samples: Sequence[float]) -> dict[str, float | None]:
    """Return `plain_quantile` for every percentile of a record."""
    return {name: plain_quantile(samples, p) for name, p in PERCENTILES.items()}
