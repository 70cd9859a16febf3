"""Checks of every distillation: targets that move or vanish, and losses that stop teaching.

The published code trains the layer that makes its target with the loss on that target. The optimum
is a target of zero: the loss reads 0.0000 while nothing is taught. Recipe `paper` reproduces this,
so there the monitor only warns.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import torch

from distill.losses.spectral.loss import low_band
from edge.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

MIN_STD, MAX_STD = 0.5, 2.0
"""Bounds of the standard deviation of a standardized target over many frames."""
JUDGED_FRAMES = 64
"""Least number of frames that are judged together: the map of a single black frame is constant."""
MIN_SHARE = 1e-3
"""Share of its first value below which a distillation loss has collapsed."""


logger = logging.getLogger(__name__)


class TargetMonitor:
    """Watches the targets and the distillation losses of one run.

    Args:
        only_warn: Log a warning instead of raising.
    """

    def __init__(self, *, only_warn: bool) -> None:
        self.only_warn = only_warn
        self.start: dict[str, float] = {}
        self.warned: set[str] = set()
        self._looks: dict[str, deque[_Sums]] = {}

    def check(self, name: str, target: Tensor, loss: float) -> None:
        """Check one step of one teacher; `JUDGED_FRAMES` frames are judged together.

        Args:
            name: Name of the teacher.
            target: (B, C, H, W) target of the loss.
            loss: Value of the loss.

        Raises:
            TrainingError: The target takes a gradient, its standard deviation is out of bounds, or
                the loss collapsed.
        """
        if target.requires_grad:
            self._object(
                name,
                "its target takes a gradient",
                "a target that nothing trains",
                "train with recipe=difom",
            )
        # Recipe `paper` only warns, of single checks: its target moves from step to step.
        needed = 1 if self.only_warn else JUDGED_FRAMES
        looks = self._looks.setdefault(name, deque())
        looks.append(_sums(target, loss))
        frames = sum(look.frames for look in looks)
        if frames < needed:
            return
        while frames - looks[0].frames >= needed:
            frames -= looks.popleft().frames
        deviation = _pooled_deviation(looks)
        if not MIN_STD <= deviation <= MAX_STD:
            self._object(
                name,
                f"its target has a standard deviation of {deviation:.3g} over {frames} frames",
                f"{MIN_STD} to {MAX_STD} after standardization",
                "check the teacher's weights, then whether the images are blank",
            )
        loss = sum(look.frames * look.loss for look in looks) / frames
        start = self.start.setdefault(name, loss)
        if loss < MIN_SHARE * start:
            self._object(
                name,
                f"its loss fell to {loss:.3g}, {loss / start:.1e} of its start",
                f"at least {MIN_SHARE} of its start: no student matches a teacher this well",
                "check whether the target has collapsed to a constant",
            )

    def _object(self, name: str, what: str, expected: str, hint: str) -> None:
        if not self.only_warn:
            raise TrainingError(f"teacher {name}: {what}", expected=expected, hint=hint)
        key = f"{name}: {what.split(' of ')[0].split(' to ')[0]}"
        if key not in self.warned:
            self.warned.add(key)
            logger.warning("teacher %s: %s (expected: %s)", name, what, expected)


class _Sums(NamedTuple):
    """What one check saw: sums over frames and cells of a target, (C,) each."""

    frames: int
    cells: int
    total: Tensor
    squares: Tensor
    loss: float


def _sums(target: Tensor, loss: float) -> _Sums:
    values = target.detach().double().transpose(0, 1).flatten(1)
    return _Sums(len(target), values.shape[1], values.sum(dim=1), values.square().sum(dim=1), loss)


def _pooled_deviation(looks: Iterable[_Sums]) -> float:
    sums = list(looks)
    cells = sum(look.cells for look in sums)
    mean = torch.stack([look.total for look in sums]).sum(dim=0) / cells
    squares = torch.stack([look.squares for look in sums]).sum(dim=0) / cells
    return (squares - mean.square()).clamp_min(0).mean().sqrt().item()


def target_deviation(target: Tensor) -> float:
    """Standard deviation of a (B, C, H, W) target around the mean of each channel.

    A map that is constant per channel holds nothing to learn, whatever the values are.
    """
    return _pooled_deviation([_sums(target, 0.0)])


def explained_variance(
    low: Tensor, high: Tensor, target: Tensor, radius: int
) -> tuple[float, float]:
    """R^2 of a student's two maps against the bands of a target.

    Args:
        low: (B, C, H, W) student map of the low band.
        high: (B, C, H, W) student map of the high band.
        target: (B, C, H, W) teacher map.
        radius: Half-width of the low band in cycles per map.

    Returns:
        1 - residual / variance of the low and of the high band; 0 is as good as the mean, negative
        is worse.
    """
    with torch.no_grad():
        smooth = low_band(target, radius)
        explained = []
        for maps, band in ((low.float(), smooth), (high.float(), target.float() - smooth)):
            variance = (band - band.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
            explained.append(1 - ((maps - band).square().mean() / variance.clamp_min(1e-12)).item())
    return explained[0], explained[1]
