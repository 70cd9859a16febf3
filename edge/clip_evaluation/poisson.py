"""The exact confidence interval of a count of independent events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_TAIL = 0.025
_STEPS = 100


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the mean of a Poisson count.

    The lower bound is the mean under which `count` or more events have probability .025, the upper
    bound the mean under which `count` or fewer events have it. Both are found by bisection.

    Source: Garwood, Fiducial limits for the Poisson distribution, Biometrika 1936.

    Args:
        count: Number of events, 0 or more.

    Raises:
        UsageError: `count` is negative.
    """
    if count < 0:
        raise UsageError("a count of events is negative", expected="0 or more", got=f"{count}")
    most = count + 10 * math.sqrt(count + 1) + 10
    high = _root(lambda mean: _at_most(count, mean) - _TAIL, most)
    if count == 0:
        return 0.0, high
    low = _root(lambda mean: _at_most(count - 1, mean) - (1 - _TAIL), most)
    return low, high


def _at_most(count: int, mean: float) -> float:
    """Probability of at most `count` events, falling as the mean rises."""
    if mean == 0:
        return 1.0
    return math.fsum(
        math.exp(number * math.log(mean) - mean - math.lgamma(number + 1))
        for number in range(count + 1)
    )


def _root(falling: Callable[[float], float], high: float) -> float:
    """Zero of a falling function that lies between 0 and `high`."""
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
