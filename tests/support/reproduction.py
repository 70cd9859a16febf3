"""Whether a bundle that was trained again has the figures of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.bundle.manifest import Manifest


@dataclass(frozen=True)
class Tolerance:
    """How far the figures of two trainings by one command may be apart.

    Attributes:
        dice: Mean Dice of a data set; seeds of one recipe were up to .02 apart.
        flagged: Share of the clean frames that are flagged at the operating point.
    """

    dice: float = 0.03
    flagged: float = 0.05


def differences(old: Manifest, new: Manifest, tolerance: Tolerance | None = None) -> list[str]:
    """List in words what differs by more than a tolerance, or cannot be compared."""
    limit = tolerance or Tolerance()
    found = []
    if old.provenance.data != new.provenance.data:
        found.append("the data are not the same frames")
    rows = {(row.dataset, row.engine): row for row in new.accuracy}
    for row in old.accuracy:
        other = rows.get((row.dataset, row.engine))
        if other is None or other.n != row.n:
            found.append(f"{row.dataset}, {row.engine}: not the same frames")
        elif abs(other.dice - row.dice) > limit.dice:
            found.append(f"{row.dataset}, {row.engine}: Dice {row.dice:.3f}, now {other.dice:.3f}")
    points = [manifest.output.calibration for manifest in (old, new)]
    if points[0] is not None and points[1] is not None:
        shares = [
            point.chosen.flagged / max(1, sum(point.negatives.values()))
            for point in points
            if point is not None
        ]
        if abs(shares[0] - shares[1]) > limit.flagged:
            found.append(f"clean frames flagged: {shares[0]:.1%}, now {shares[1]:.1%}")
    elif (points[0] is None) != (points[1] is None):
        found.append("only one has a chosen operating point")
    return found
