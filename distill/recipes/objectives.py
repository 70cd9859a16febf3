"""Recipes: a student and everything that its teachers need besides it, as one module.

It is one module so that several processes can wrap it: gradients of student and heads are reduced
together. Only the student is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from distill.losses import (
    TASK_LOSSES,
    background_loss,
    low_band,
    presence_loss,
    segmentation_loss,
    spectral_loss,
)
from distill.losses.auxiliary import channel_wise_loss, patch_similarity_loss, resized
from distill.losses.detection import detection_loss
from distill.losses.hints import ConfidenceHints
from distill.losses.spectral.weighted import focal_frequency_loss
from distill.recipes.boxes import known_pixels_loss, open_pixels_loss
from distill.recipes.consistency import consistency_loss
from distill.recipes.target_monitor import explained_variance
from distill.students.build import StudentMaps
from distill.students.pro_mamba import training_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.batch import Batch, Step
    from distill.options import LossOptions, RunOptions
    from distill.students.build import Student
    from distill.students.pro_mamba import ProMamba


class Losses(NamedTuple):
    """One step's losses.

    Attributes:
        total: Weighted sum that is minimized, a scalar.
        task: Loss on the masks, a scalar.
        distillation: Distance to each teacher's map, a scalar each; empty without teachers.
        targets: What each distance was computed with, for the target monitor; empty where the
            targets cannot collapse.
        cwd: Distance to the task teacher's logits, a scalar; None without one.
        consistency: Distance of unlabeled views to their pseudo-labels, a scalar; None without any.
        boxes: Loss of the views with boxes, a scalar; None without any.
        boxes_kept: Share of the boxes whose pseudo-mask fits, a scalar; None without any.
    """

    total: Tensor
    task: Tensor
    distillation: list[Tensor]
    targets: list[Tensor]
    cwd: Tensor | None = None
    consistency: Tensor | None = None
    boxes: Tensor | None = None
    boxes_kept: Tensor | None = None

    def figures(self) -> dict[str, float]:
        """The losses by the names that `metrics.jsonl` knows them by."""
        values = {"loss": self.total.item(), "task": self.task.item()}
        if self.distillation:
            values["distill"] = torch.stack(self.distillation).mean().item()
        further = {
            "cwd": self.cwd,
            "consistency": self.consistency,
            "boxes": self.boxes,
            "boxes_kept": self.boxes_kept,
        }
        return values | {name: loss.item() for name, loss in further.items() if loss is not None}


class Objective(nn.Module):
    """The task loss alone: recipe `none`.

    Args:
        student: Trained in place.
        loss: What is minimized.
        run: Length, precision and seed of the training.
    """

    def __init__(self, student: Student, loss: LossOptions, run: RunOptions) -> None:
        super().__init__()
        self.student = student
        self.loss, self.run = loss, run
        heads = loss.background and not student.has_background
        self.background = nn.Conv2d(student.high_channels, 1, 1) if heads else None
        self.hints = ConfidenceHints(loss.confidence_budget) if student.has_confidence else None

    def forward(self, batch: Batch, clock: Step) -> Losses:
        """Losses of a batch.

        Args:
            batch: Images, masks and what the teachers give for them.
            clock: Place of the step in the schedule.
        """
        del clock
        prompts = training_prompts(batch.masks) if self.student.prompted else None
        task = self.task_loss(self.maps(batch.images, prompts=prompts), batch.masks)
        return self.with_weak(Losses(task, task, [], []), batch)

    def with_weak(self, losses: Losses, batch: Batch, weight: float = 1.0) -> Losses:
        """Add the losses of the views without masks and of those with boxes, if there are any.

        Args:
            losses: Losses of the other views.
            batch: The batch of all views.
            weight: Weight of the task in this phase of the schedule.
        """
        total, consistency, boxes = losses.total, self.consistency(batch), self.boxes(batch)
        if consistency is not None:
            total = total + weight * self.loss.consistency_weight * consistency
        if boxes is not None:
            total = total + weight * self.loss.box_weight * boxes
        boxes_kept = None if batch.box_labels is None else batch.box_labels.kept
        return losses._replace(
            total=total, consistency=consistency, boxes=boxes, boxes_kept=boxes_kept
        )

    def boxes(self, batch: Batch) -> Tensor | None:
        """The loss of the views with boxes; None where the batch has none."""
        labels = batch.box_labels
        if labels is None or len(labels.images) == 0:
            return None
        maps = self.maps(labels.images)
        supervised = torch.stack(
            [
                known_pixels_loss(logits, labels.masks, labels.known)
                for logits in (maps.logits, *maps.auxiliary)
            ]
        ).mean()
        apart = open_pixels_loss(maps.logits, labels.scores, labels.known)
        return supervised + self.loss.box_consistency_weight * apart

    def consistency(self, batch: Batch) -> Tensor | None:
        """The loss of the views without masks; None where the batch has none."""
        if batch.pseudo is None or len(batch.pseudo.images) == 0:
            return None
        return consistency_loss(self.maps(batch.pseudo.images).logits, batch.pseudo)

    def maps(
        self, images: Tensor, student: Student | None = None, prompts: Tensor | None = None
    ) -> StudentMaps:
        """The student's maps in float32, computed in the run's precision.

        Args:
            images: (B, 3, H, W) float32, normalized.
            student: A copy with other weights in place of the student.
            prompts: (B, 1, H, W) map of boxes, for a student that is prompted; None for none.
        """
        network = student or self.student
        with torch.autocast(
            images.device.type, torch.bfloat16, enabled=self.run.precision == "bf16"
        ):
            maps = (
                network.maps(images)
                if prompts is None
                else cast("ProMamba", network).maps(images, prompts)
            )
        return StudentMaps(
            maps.logits.float(),
            maps.low.float(),
            maps.high.float(),
            tuple(further.float() for further in maps.auxiliary),
            None if maps.presence is None else maps.presence.float(),
            tuple(logits.float() for logits in maps.background),
            None if maps.reconstruction is None else maps.reconstruction.float(),
            None if maps.confidence is None else maps.confidence.float(),
            None if maps.boxes is None else maps.boxes.float(),
        )

    def task_loss(self, maps: StudentMaps, masks: Tensor) -> Tensor:
        """Compute the configured loss, averaged with that of auxiliary logits (deep supervision).

        Images without a polyp have a loss of their own; a presence logit, logits of the background,
        boxes, a reconstruction and hints add theirs.
        """
        loss = TASK_LOSSES[self.loss.task_loss]
        main, cost = maps.logits, None
        if self.hints is not None and maps.confidence is not None:
            main, cost = self.hints(main, masks, maps.confidence)
        stage_losses = [
            segmentation_loss(loss, logits, masks, self.loss.clean_weight)
            for logits in (main, *maps.auxiliary)
        ]
        total = torch.stack(stage_losses).mean()
        if cost is not None:
            total = total + cost
        if maps.presence is not None and self.loss.presence_weight:
            total = total + self.loss.presence_weight * presence_loss(maps.presence, masks)
        background = maps.background
        if self.background is not None:
            background = (self.background(maps.high),)
        if background:
            entropy = torch.stack([background_loss(logits, masks) for logits in background]).mean()
            total = total + self.loss.background_weight * entropy
        if maps.boxes is not None and self.loss.detection_weight:
            total = total + self.loss.detection_weight * detection_loss(
                maps.boxes,
                masks,
                contrast_weight=self.loss.contrast_weight,
                hard_frames=self.loss.hard_frames,
            )
        if maps.reconstruction is not None:
            total = total + self.loss.reconstruction_weight * maps.reconstruction
        return total

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch, after `train()`."""

    def fit(self, batch: Batch) -> list[tuple[float, float]]:
        """R^2 of the low and of the high band per teacher on a batch."""
        del batch
        return []


class SpectralHeads(nn.Module):
    """1x1 projections of a student's two maps to a teacher's channels.

    Args:
        student: Student whose maps are projected.
        channels: Channels of the teacher's map.
    """

    def __init__(self, student: Student, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(student.low_channels, channels, 1)
        self.high = nn.Conv2d(student.high_channels, channels, 1)

    def forward(self, maps: StudentMaps, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Both maps as (B, channels, *grid): projected first and resized then, which commutes."""
        low, high = self.low(maps.low), self.high(maps.high)
        return resized(low, grid), resized(high, grid)


class Difom(Objective):
    """The task loss and the spectral loss on each teacher's map: this project's recipe `difom`.

    Targets come from a cache and take no gradient. The distilled maps are inputs of the logits. The
    high band is compared on the grid of the student's finer map.

    Args:
        student: Trained in place.
        loss: What is minimized.
        run: Length, precision and seed of the training.
        channels: Channels of each teacher's map.
    """

    def __init__(
        self, student: Student, loss: LossOptions, run: RunOptions, channels: Sequence[int]
    ) -> None:
        super().__init__(student, loss, run)
        self.heads = nn.ModuleList(SpectralHeads(student, count) for count in channels)

    def forward(self, batch: Batch, clock: Step) -> Losses:
        """Losses of a batch."""
        maps = self.maps(batch.images)
        # Without masks the head gets no gradient at all, so that weight decay leaves it alone.
        task = (
            maps.logits.new_zeros(())
            if self.loss.schedule == "teachers-only"
            else self.task_loss(maps, batch.masks)
        )
        task_weight, distill_weight, cwd_weight = self._weights(clock.epoch)
        total = task_weight * task
        pairs = zip(self.heads, batch.targets, strict=True)
        distances = [self._distance(head, maps, target) for head, target in pairs]
        if distances:
            keep = self._keep_mask(distances, clock)
            total = total + distill_weight * (torch.stack(distances) * keep).mean()
        cwd = (
            None if batch.task_logits is None else channel_wise_loss(maps.logits, batch.task_logits)
        )
        if cwd is not None:
            total = total + cwd_weight * cwd
        losses = Losses(total, task, distances, list(batch.targets), cwd)
        return self.with_weak(losses, batch, task_weight)

    def _distance(self, head: nn.Module, maps: StudentMaps, target: Tensor) -> Tensor:
        """Distance to one teacher's map: the spectral loss and the configured further terms."""
        options = self.loss
        low, high = head(maps, target.shape[-2:])
        loss = spectral_loss(low, high, target, radius=options.radius, band=options.band)
        if options.similarity_weight:
            loss = loss + options.similarity_weight * patch_similarity_loss(maps.high, target)
        if options.focal_weight:
            smooth = low_band(target, options.radius)
            focal = focal_frequency_loss(low, smooth) + focal_frequency_loss(high, target - smooth)
            loss = loss + options.focal_weight * focal
        return loss

    def fit(self, batch: Batch) -> list[tuple[float, float]]:
        """R^2 of the low and of the high band per teacher on a batch."""
        with torch.no_grad():
            maps = self.maps(batch.images)
            variances = []
            for head, target in zip(self.heads, batch.targets, strict=True):
                low, high = head(maps, target.shape[-2:])
                variances.append(explained_variance(low, high, target, self.loss.radius))
            return variances

    def held_out_loss(self, batch: Batch, student: Student) -> Tensor:
        """What a training without masks minimizes, of unchanged images and other weights.

        Args:
            batch: Images and what the teachers give for them.
            student: A copy of the student, in evaluation mode.
        """
        with torch.no_grad():
            maps = self.maps(batch.images, student)
            pairs = zip(self.heads, batch.targets, strict=True)
            distances = [self._distance(head, maps, target) for head, target in pairs]
            total = torch.stack(distances).mean() if distances else maps.logits.new_zeros(())
            if batch.task_logits is not None:
                cwd = channel_wise_loss(maps.logits, batch.task_logits)
                total = total + self.loss.cwd_weight * cwd
        return total

    def _weights(self, epoch: int) -> tuple[float, float, float]:
        """Weights of task, maps and task logits in an epoch."""
        options = self.loss
        together = (1.0, options.distill_weight, options.cwd_weight)
        teachers_alone = (0.0, 1.0, options.cwd_weight)
        first = 2 * epoch < self.run.epochs
        match options.schedule:
            case "joint":
                return together
            case "distil-first":  # GKD's order
                return teachers_alone if first else (1.0, 0.0, 0.0)
            case "task-first":  # the paper's
                return (1.0, 0.0, 0.0) if first else together
            case "teachers-only":
                return teachers_alone

    def _keep_mask(self, losses: list[Tensor], clock: Step) -> Tensor:
        """Drop each teacher with probability p, but never the worst matched (UNIC, ECCV 2024)."""
        keep = torch.ones(len(losses), device=losses[0].device)
        if self.loss.teacher_dropping and len(losses) > 1:
            rng = np.random.default_rng([self.run.seed, clock.epoch, clock.step])
            draws = rng.random(len(losses)) >= self.loss.teacher_dropping
            keep = torch.from_numpy(draws.astype(np.float32)).to(keep.device)
            keep[torch.stack(losses).detach().argmax()] = 1.0
        return keep
