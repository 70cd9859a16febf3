"""Percentiles: LoadGen's numbers and definition, and coverage on known distributions."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.measure.percentiles import (
    PERCENTILES,
    bounds,
    min_samples,
    plain_quantile,
    quantiles,
    tail_allowance,
    upper_bound,
)

LEAST = {"p50": 11, "p90": 64, "p95": 130, "p97": 219, "p99": 662, "p99.9": 6636}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_least_samples_are_loadgens(name: str, least: int) -> None:
    assert min_samples(PERCENTILES[name]) == least


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_a_percentile_with_fewer_samples_is_refused(name: str, least: int) -> None:
    p = PERCENTILES[name]
    short = [float(i) for i in range(least - 1)]
    assert upper_bound(short, p) is None
    assert plain_quantile(short, p) is None
    assert upper_bound([*short, 1e6], p) == 1e6
    assert plain_quantile([*short, 1e6], p) is not None


@given(st.integers(1, 300), st.sampled_from([50, 90, 95, 97, 99]))
def test_the_allowance_is_the_exact_rule(samples: int, percent: int) -> None:
    tail = Fraction(100 - percent, 100)
    cumulative, largest = Fraction(0), 0
    for k in range(samples + 1):
        cumulative += comb(samples, k) * tail**k * (1 - tail) ** (samples - k)
        if cumulative > Fraction(1, 100):
            break
        largest = k
    assert tail_allowance(samples, percent / 100) == largest


@pytest.mark.parametrize("name", PERCENTILES)
def test_long_runs_neither_underflow_nor_drift(name: str) -> None:
    p, q = PERCENTILES[name], 1_000_000
    spread = (q * p * (1 - p)) ** 0.5
    assert tail_allowance(q, p) == pytest.approx(q * (1 - p) - 2.3263 * spread, abs=4)


@pytest.mark.parametrize(
    ("name", "samples"), [("p50", 200), ("p90", 200), ("p99", 1000), ("p99.9", 7000)]
)
def test_one_run_of_a_hundred_exceeds_the_true_quantile(name: str, samples: int) -> None:
    """The true quantile is exceeded in at most one run of a hundred."""
    p, runs = PERCENTILES[name], 1000
    samples_drawn = np.random.default_rng(7).exponential(size=(runs, samples))
    truth = -log(1 - p)
    t = tail_allowance(samples, p)
    estimates = np.sort(samples_drawn, axis=1)[:, -t]
    assert estimates[0] == upper_bound(samples_drawn[0].tolist(), p)
    # The binomial's 99.9 % bound over 1000 runs of which at most 1 % may fall short.
    assert int((estimates < truth).sum()) <= 21
    # An estimate that is always huge would pass too: it must stay near the quantile.
    assert float(np.median(estimates)) < truth * 1.8


def test_a_record_has_every_percentile_in_both_forms() -> None:
    samples = np.random.default_rng(1).gamma(3, size=700).tolist()
    upper, plain = bounds(samples), quantiles(samples)
    assert list(upper) == list(plain) == list(LEAST)
    assert upper["p99.9"] is None
    assert plain["p99.9"] is None
    for name in list(LEAST)[:-1]:
        high, low = upper[name], plain[name]
        assert high is not None
        assert low is not None
        assert low <= high <= max(samples)
    assert bounds(sorted(samples)) == upper
    assert plain["p50"] == sorted(samples)[349]
    assert bounds([]) == dict.fromkeys(LEAST)


def test_a_stall_every_50_frames_shows_in_p99() -> None:
    samples = [20.0 if i % 50 == 49 else 1.0 for i in range(1000)]
    assert upper_bound(samples, 0.99) == 20.0
    assert upper_bound(samples, 0.90) == 1.0
