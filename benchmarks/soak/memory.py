"""Growth of a process's resident memory over a soak, and whether it is a leak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.soak.checks import Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_MB_PER_HOUR = 10.0
"""Growth of a process's resident memory that counts as a leak."""

_MIN_BLOCKS = 10
_RESAMPLES = 2000


class Slope(NamedTuple):
    """Growth in MB per hour with its 95 % bootstrap interval."""

    per_hour: float
    low: float
    high: float


def slope_of(samples: Sequence[tuple[float, float]], *, block_s: float) -> Slope | None:
    """Fit a line to the means of blocks, so that variation within a block is not growth.

    Args:
        samples: Seconds and MB, in order.
        block_s: Length of a block, which is a whole cycle of the faults.

    Returns:
        None if there are too few blocks.
    """
    if not samples:
        return None
    times, values = np.array(samples, float).T
    numbers = ((times - times[0]) // block_s).astype(int)
    blocks = range(int(numbers[-1]))  # the last block is incomplete
    if len(blocks) < _MIN_BLOCKS:
        return None
    points = np.array([[times[numbers == n].mean(), values[numbers == n].mean()] for n in blocks])
    picks = np.random.default_rng(0).integers(len(points), size=(_RESAMPLES, len(points)))
    slopes = _fit(points[picks])
    low, high = np.nanquantile(slopes, [0.025, 0.975])
    return Slope(float(_fit(points[None])[0]), float(low), float(high))


def _fit(points: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return slopes in MB per hour of (N, K, 2) points, seconds and MB."""
    centered = points - points.mean(axis=1, keepdims=True)
    spread = (centered[..., 0] ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fitted: np.ndarray[Any, np.dtype[np.float64]] = (
            3600 * centered.prod(axis=2).sum(axis=1) / spread
        )
    return fitted


def check_leak(
    name: str, series: Mapping[int, Sequence[tuple[float, float]]], *, block_s: float, warm_s: float
) -> Check:
    """Check that a process's resident memory does not grow.

    Args:
        name: Name of the process.
        series: Maps process ids to seconds and MB; a restarted process is a new series.
        block_s: Length of a block, as for `slope_of`.
        warm_s: Seconds at the start of each series that do not count.
    """
    slopes, figures, failures = [], {}, []
    for pid, samples in series.items():
        warm = [sample for sample in samples if sample[0] - samples[0][0] >= warm_s]
        slope = slope_of(warm, block_s=block_s)
        lasted = samples[-1][0] - samples[0][0]
        entry: dict[str, Any] = {
            "seconds": round(lasted, 1),
            "highest_mb": max(mb for _, mb in samples),
        }
        entry |= {"first_mb": samples[0][1], "last_mb": samples[-1][1]}
        if slope is not None:
            slopes.append(slope)
            entry |= {"mb_per_hour": slope.per_hour, "ci95": [slope.low, slope.high]}
            if slope.high > MAX_MB_PER_HOUR:
                failures.append(f"{name} {pid}: up to {slope.high:.1f} MB per hour")
        figures[str(pid)] = entry
    return Check(
        name=f"memory of the {name}",
        what=f"grows by at most {MAX_MB_PER_HOUR:g} MB per hour, upper end of the 95 % interval",
        passed=not failures if slopes else None,
        figures={"warm_up_s": warm_s, "block_s": block_s, "processes": figures},
        failures=failures[:20],
    )
