"""What a recipe minimises: a student and whatever its teachers need beside it, as one module.

One module, so that several processes can wrap it: gradients of student and heads are reduced together. Nothing in
here but the student is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.guards import explained_variance
from distill.losses import spectral_loss, structure_loss
from distill.students import StudentMaps
from distill.terms import patch_similarity_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistillConfig
    from distill.students import Student


class Losses(NamedTuple):
    """One step's losses.

    Attributes:
        total: What is minimised, a scalar.
        task: On the masks, a scalar.
        teachers: Per teacher, a scalar each; empty without teachers.
        targets: What each of them was compared with, for the guard.
    """

    total: Tensor
    task: Tensor
    teachers: list[Tensor]
    targets: list[Tensor]


class Objective(nn.Module):
    """The task loss alone: recipe `none`.

    Args:
        student: Trained in place.
        config: Of the run.
    """

    def __init__(self, student: Student, config: DistillConfig) -> None:
        super().__init__()
        self.student = student
        self.config = config

    def forward(
        self, images: Tensor, masks: Tensor, targets: Sequence[Tensor], epoch: int, step: int
    ) -> Losses:
        """Losses of a batch.

        Args:
            images: (B, 3, H, W), normalised.
            masks: (B, 1, H, W), 0 to 1.
            targets: Per teacher (B, C, gh, gw), standardised.
            epoch: From 0.
            step: Of the epoch, from 0.
        """
        del targets, epoch, step
        task = self.task_loss(self.maps(images), masks)
        return Losses(task, task, [], [])

    def maps(self, images: Tensor) -> StudentMaps:
        """The student's maps in float32, computed in the run's precision."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            found = self.student.maps(images)
        logits, low, high, further = found
        return StudentMaps(logits.float(), low.float(), high.float(), tuple(m.float() for m in further))

    def task_loss(self, maps: StudentMaps, masks: Tensor) -> Tensor:
        """Structure loss of the logits, averaged with that of further logits under deep supervision."""
        found = [structure_loss(logits, masks) for logits in (maps.logits, *maps.auxiliary)]
        return torch.stack(found).mean()

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch, after `train()`."""

    def fit(self, images: Tensor, targets: Sequence[Tensor]) -> list[tuple[float, float]]:
        """R^2 of the low and of the high band per teacher on a batch."""
        del images, targets
        return []


class SpectralHeads(nn.Module):
    """1x1 projections of a student's two maps to a teacher's channels.

    Args:
        student: Whose maps are projected.
        channels: The teacher's channels.
    """

    def __init__(self, student: Student, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(student.low_channels, channels, 1)
        self.high = nn.Conv2d(student.high_channels, channels, 1)

    def forward(self, maps: StudentMaps, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Both maps (B, channels, *grid): projected where they are small, then resized, which commutes."""
        low, high = self.low(maps.low), self.high(maps.high)
        return resized(low, grid), resized(high, grid)


class Difom(Objective):
    """The task loss and the spectral loss on each teacher's map: recipe `difom`, ours.

    Targets come from a cache and take no gradient; the distilled maps lie on the way to the logits; the high band is
    compared on the grid of the student's finer map.

    Args:
        student: Trained in place.
        config: Of the run.
        channels: Of each teacher's map.
    """

    def __init__(self, student: Student, config: DistillConfig, channels: Sequence[int]) -> None:
        super().__init__(student, config)
        self.heads = nn.ModuleList(SpectralHeads(student, count) for count in channels)

    def forward(
        self, images: Tensor, masks: Tensor, targets: Sequence[Tensor], epoch: int, step: int
    ) -> Losses:
        """Losses of a batch."""
        config = self.config
        maps = self.maps(images)
        task = self.task_loss(maps, masks)
        found = []
        for head, target in zip(self.heads, targets, strict=True):
            low, high = head(maps, target.shape[-2:])
            loss = spectral_loss(low, high, target, radius=config.radius, band=config.band)
            if config.similarity_weight:
                loss = loss + config.similarity_weight * patch_similarity_loss(maps.high, target)
            found.append(loss)
        distil = (torch.stack(found) * self._kept(found, epoch, step)).mean()
        task_weight, distil_weight = self._weights(epoch)
        return Losses(task_weight * task + distil_weight * distil, task, found, list(targets))

    def fit(self, images: Tensor, targets: Sequence[Tensor]) -> list[tuple[float, float]]:
        """R^2 of the low and of the high band per teacher on a batch."""
        with torch.no_grad():
            maps = self.maps(images)
            found = []
            for head, target in zip(self.heads, targets, strict=True):
                low, high = head(maps, target.shape[-2:])
                found.append(explained_variance(low, high, target, self.config.radius))
            return found

    def _weights(self, epoch: int) -> tuple[float, float]:
        """Of the task and of the distillation: both together, or one after the other (GKD's order)."""
        if self.config.schedule == "joint":
            return 1.0, self.config.distill_weight
        return (0.0, 1.0) if 2 * epoch < self.config.epochs else (1.0, 0.0)

    def _kept(self, losses: list[Tensor], epoch: int, step: int) -> Tensor:
        """Teacher dropping (UNIC, ECCV 2024): each is left out with probability p, never the worst matched one."""
        kept = torch.ones(len(losses), device=losses[0].device)
        if self.config.teacher_dropping and len(losses) > 1:
            rng = np.random.default_rng([self.config.seed, epoch, step])
            drawn = rng.random(len(losses)) >= self.config.teacher_dropping
            kept = torch.from_numpy(drawn.astype(np.float32)).to(kept.device)
            kept[torch.stack(losses).detach().argmax()] = 1.0
        return kept


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, *grid): bilinear on half-pixel centres, antialiased where it shrinks."""
    if maps.shape[-2:] == grid:
        return maps
    shrinks = maps.shape[-2] > grid[0] or maps.shape[-1] > grid[1]
    return F.interpolate(maps, size=grid, mode="bilinear", align_corners=False, antialias=shrinks)
