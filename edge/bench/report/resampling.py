"""Bootstrap of latency quantiles over blocks of neighbours: frames of one second are alike, so single frames must not be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_BLOCKS = 20
RESAMPLES = 1000


def blocks_of(samples: Sequence[float], counts: Sequence[int]) -> list[NDArray[np.float64]]:
    """Samples cut into the blocks that are drawn as wholes.

    Args:
        samples: In the order in which they were taken.
        counts: Samples of each second, in order; they add up to all.

    Returns:
        One block per second; of a run under `MIN_BLOCKS` seconds, as many stretches of equal
        length; none where a stretch would have fewer than two samples.
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
    """Plain quantiles of `RESAMPLES` runs that are put together from blocks drawn with replacement.

    Args:
        blocks: Of `blocks_of`, at least one.
        p: Shares, between 0 and 1.
        seed: Of the drawing.

    Returns:
        (RESAMPLES, len(p)), the ceil(p q)-th smallest sample of each run.
    """
    values = np.concatenate(blocks)
    owner = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    generator = np.random.default_rng(seed)
    found = np.empty((RESAMPLES, len(p)))
    for row in found:
        drawn = generator.integers(len(blocks), size=len(blocks))
        # A sample counts as often as its block was drawn; nothing is sorted again.
        reached = np.cumsum(np.bincount(drawn, minlength=len(blocks))[owner])
        row[:] = values[np.searchsorted(reached, np.ceil(np.multiply(p, reached[-1])))]
    return found


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
