"""Block bootstrap of latency quantiles.

Frames of one second are correlated, so the bootstrap draws whole blocks instead of single frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_BLOCKS = 20
RESAMPLES = 1000


def blocks_of(samples: Sequence[float], counts: Sequence[int]) -> list[NDArray[np.float64]]:
    """Split samples into the blocks that the bootstrap draws.

    Args:
        samples: Samples in the order in which they were taken.
        counts: Number of samples in each second, in order; the sum is the number of samples.

    Returns:
        One block per second; for a run shorter than `MIN_BLOCKS` seconds, `MIN_BLOCKS` blocks of
        equal length; no block if one would have fewer than two samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if len(counts) >= MIN_BLOCKS:
        return [block for block in np.split(values, np.cumsum(counts)[:-1]) if block.size]
    if values.size < 2 * MIN_BLOCKS:
        return []
    return list(np.array_split(values, MIN_BLOCKS))


def quantile_draws(
    blocks: Sequence[NDArray[np.float64]], p: Sequence[float], *, seed: int = 0
) -> NDArray[np.float64]:
    """Compute plain quantiles of `RESAMPLES` runs made of blocks drawn with replacement.

    Args:
        blocks: Blocks from `blocks_of`, at least one.
        p: Shares, between 0 and 1.
        seed: Seed of the draws.

    Returns:
        (RESAMPLES, len(p)), the ceil(p q)-th smallest sample of each run.
    """
    values = np.concatenate(blocks)
    owner = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    generator = np.random.default_rng(seed)
    draws = np.empty((RESAMPLES, len(p)))
    for row in draws:
        picks = generator.integers(len(blocks), size=len(blocks))
        # Weight each sample by the draws of its block, so that nothing is sorted again.
        reached = np.cumsum(np.bincount(picks, minlength=len(blocks))[owner])
        row[:] = values[np.searchsorted(reached, np.ceil(np.multiply(p, reached[-1])))]
    return draws


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle 95 % of the draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
