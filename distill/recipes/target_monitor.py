"""What every distillation is watched for: a target that moves or vanishes, a loss that has nothing left to teach.

The published code trains the layer that makes its target by the loss on that target; the optimum is a target of
zero, and its loss reads 0.0000 while nothing is taught. Under `paper` that is shown and only warned of.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from distill.losses.spectral.loss import low_band
from edge.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

LEAST_STD, MOST_STD = 0.5, 2.0
"""Of a standardised target over one batch."""
LEAST_SHARE = 1e-3
"""Of its first value, under which a distillation loss has collapsed."""


logger = logging.getLogger(__name__)


class Guard:
    """Watches the targets and the distillation losses of one run.

    Args:
        only_warn: Say it and go on.
    """

    def __init__(self, *, only_warn: bool) -> None:
        self.only_warn = only_warn
        self.start: dict[str, float] = {}
        self.said: set[str] = set()

    def check(self, name: str, target: Tensor, loss: float) -> None:
        """Look at one step of one teacher.

        Args:
            name: Of the teacher.
            target: What its loss was computed with.
            loss: Its value.

        Raises:
            TrainingError: The target takes a gradient, its deviation is out of bounds, or the loss collapsed.
        """
        if target.requires_grad:
            self._object(
                name,
                "its target takes a gradient",
                "a target that nothing trains",
                "distil with --recipe difom",
            )
        deviation = target_deviation(target)
        if not LEAST_STD <= deviation <= MOST_STD:
            self._object(
                name,
                f"its target has a standard deviation of {deviation:.3g}",
                f"{LEAST_STD} to {MOST_STD} after standardisation",
                "remove the teacher's cache; look whether the images are blank",
            )
        start = self.start.setdefault(name, loss)
        if loss < LEAST_SHARE * start:
            self._object(
                name,
                f"its loss fell to {loss:.3g}, {loss / start:.1e} of its start",
                f"at least {LEAST_SHARE} of its start: no student matches a teacher this well",
                "look whether the target has collapsed to a constant",
            )

    def _object(self, name: str, what: str, expected: str, hint: str) -> None:
        if not self.only_warn:
            raise TrainingError(f"teacher {name}: {what}", expected=expected, hint=hint)
        key = f"{name}: {what.split(' of ')[0].split(' to ')[0]}"
        if key not in self.said:
            self.said.add(key)
            logger.warning("teacher %s: %s (expected: %s)", name, what, expected)


def target_deviation(target: Tensor) -> float:
    """Standard deviation of a (B, C, H, W) target around the mean of each channel.

    A map that is constant per channel holds nothing to learn, whatever its channels' values.
    """
    target = target.detach().float()
    return (target - target.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt().item()


def explained_variance(low: Tensor, high: Tensor, target: Tensor, radius: int) -> tuple[float, float]:
    """R^2 of a student's two maps against the bands of a target.

    Args:
        low: (B, C, H, W).
        high: (B, C, H, W).
        target: (B, C, H, W).
        radius: Of the low band, cycles per map.

    Returns:
        1 - residual / variance of the low and of the high band; 0 is no better than the mean, below is worse.
    """
    with torch.no_grad():
        smooth = low_band(target, radius)
        found = []
        for maps, band in ((low.float(), smooth), (high.float(), target.float() - smooth)):
            variance = (band - band.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
            found.append(1 - ((maps - band).square().mean() / variance.clamp_min(1e-12)).item())
    return found[0], found[1]
