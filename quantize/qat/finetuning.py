"""Quantization-aware fine-tuning: calibrated start, Adam on a cosine, best epoch by validation."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import torch
from torch import nn

from distill.data.batch import Step
from distill.losses.detection import detection_loss
from distill.losses.task import segmentation_loss, structure_loss
from distill.run_folder import append_metrics, save_checkpoint
from distill.students.detection import split_planes
from distill.train.callbacks import Followers, RunContext
from edge.errors import TrainingError
from edge.util.progress import silent
from quantize.qat.grid_alignment import align
from quantize.qat.nncf import freeze_ranges, quantized_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from distill.data.batch import Batch
    from distill.recipes.objectives import Objective
    from distill.train.callbacks import RunCallback
    from edge.util.progress import Reporter
    from quantize.runs.folder import QatConfig

FRESH_HEADS_LR = 1e-3
"""Learning rate of fresh teacher heads; the student's own rate would hardly change them."""


class FinetuningData(Protocol):
    """The part of `distill.data.batches.TrainingData` that fine-tuning uses."""

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the training batches of an epoch from step `start` on."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return `dice_val` and `iou_val` of a model."""
        ...


class Finetuning:
    """State of one fine-tuning: model, optimizer, position in the schedule and best result so far.

    Args:
        path: RUN/qat8 or RUN/qat4.
        config: Configuration of the quantization.
        data: Images of the run.
        model: A student from `quantize_student` or `restore`.
        objective: Recipe that is kept on (`quantize.qat.keep_distillation`); None for the task loss
            alone.
        task_loss: The run's loss of logits and mask, used if there is no objective.
        heads_lr: Learning rate of the objective's heads; None for that of the student.
        box_weight: Weight of the loss of the boxes, for a student with some.
        report: Shows the progress of the steps.
        callbacks: Follow the fine-tuning.
    """

    def __init__(
        self,
        path: Path,
        config: QatConfig,
        data: FinetuningData,
        model: nn.Module,
        objective: Objective | None = None,
        *,
        task_loss: Callable[[Tensor, Tensor], Tensor] = structure_loss,
        heads_lr: float | None = None,
        box_weight: float = 1.0,
        report: Reporter = silent,
        callbacks: Sequence[RunCallback] = (),
    ) -> None:
        self.path, self.config, self.data, self.model = path, config, data, model
        self.report, self.box_weight = report, box_weight
        self.followers = Followers(callbacks)
        self.objective, self.task_loss, self.heads_lr = objective, task_loss, heads_lr
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [{"params": self.trained, "peak": config.lr}]
        if objective is not None:
            groups.append({"params": list(objective.parameters()), "peak": heads_lr or config.lr})
        self.optimizer = torch.optim.Adam(groups, lr=config.lr)
        self.epoch = 0
        self.best: dict[str, float] = {"dice_val": -1.0, "score": -1.0, "epoch": -1.0}

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        return {
            "quantized": quantized_state(self.model),
            "objective": {} if self.objective is None else self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the epoch at which `state` was saved."""
        if self.objective is not None:
            self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best = int(state["epoch"]), dict(state["best"])

    def train(self) -> dict[str, float]:
        """Validate the calibrated student, then fine-tune to the last epoch.

        Returns:
            Validation figures of the best epoch.

        Raises:
            TrainingError: The loss is not finite.
        """
        left = (self.config.epochs - max(0, self.epoch - 1)) * self.data.steps
        context = RunContext(
            self.path,
            f"quantization to {self.config.bits} bits",
            msgspec.to_builtins(self.config),
            self.config.epochs,
            max(0, self.epoch - 1),
        )
        self.followers.notify(lambda one: one.begin(context))
        try:
            with self.report(max(1, left), "fine-tune") as bar:
                if self.epoch == 0:
                    self._validate({}, 0.0, bar)
                while self.epoch <= self.config.epochs:
                    begin = time.monotonic()
                    losses = self._train_epoch(bar)
                    self._validate(losses, time.monotonic() - begin, bar)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            self.followers.notify(lambda one: one.fail(reason))
            raise
        self.followers.notify(lambda one: one.end(self.best))
        return self.best

    def _train_epoch(self, bar: Any) -> dict[str, float]:
        """Train epoch `self.epoch`, counted from 1.

        The model stays in eval mode: BatchNorm and dropout are frozen.

        Returns:
            Means of the epoch's losses.
        """
        if 2 * self.epoch > self.config.epochs:
            # Weights settle on a grid that no longer moves (Krishnamoorthi, 2018, section 4).
            freeze_ranges(self.model)
        sums: dict[str, float] = {}
        for step, batch in enumerate(self.data.batches(self.epoch - 1)):
            losses = self.train_step(batch, step)
            sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
            bar.update(
                1,
                f"epoch {self.epoch}, loss {losses['loss']:.3f}, "
                f"best Dice {self.best['dice_val']:.4f}",
            )
        align(self.model, batch.images[:1])
        return {name: value / self.data.steps for name, value in sums.items()}

    def train_step(self, batch: Batch, step: int) -> dict[str, float]:
        """Update the weights once.

        Args:
            batch: Images and masks of the step.
            step: Index of the step in epoch `self.epoch`, from 0.

        Returns:
            Losses of the step.

        Raises:
            TrainingError: The loss is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._part(step)
        total, losses = self._losses(batch, step)
        if not math.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss became {losses['loss']} in epoch {self.epoch}, step {step + 1}",
                expected="a finite loss",
                hint=f"lr={self.config.lr / 3:g}",
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.optimizer.step()
        return losses

    def _losses(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float]]:
        """Return the minimized loss, and each term under its name in `metrics.jsonl`."""
        if self.objective is None:
            loss = self._task(batch)
            return loss, {"loss": loss.item()}
        losses = self.objective(batch, Step(self.epoch - 1, step))
        return losses.total, losses.figures()

    def _task(self, batch: Batch) -> Tensor:
        """Loss of the mask and, for a student with boxes, of these."""
        logits: Tensor = self.model(batch.images)
        boxes = None
        if int(getattr(self.model, "planes", 1)) > 1:
            logits, boxes = split_planes(logits)
        loss = segmentation_loss(self.task_loss, logits, batch.masks)
        if boxes is not None:
            loss = loss + self.box_weight * detection_loss(
                boxes, batch.masks, contrast_weight=0.0, hard_frames=False
            )
        return loss

    def _part(self, step: int) -> float:
        """Return the share of the peak learning rate: half a cosine that falls from 1 to 0.01."""
        done = ((self.epoch - 1) * self.data.steps + step) / (self.config.epochs * self.data.steps)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2

    def _validate(self, row: dict[str, float], seconds: float, bar: Any) -> None:
        score = self.data.validate(self.model)
        if score["score"] > self.best["score"]:
            self.best = {"epoch": float(self.epoch), **score}
            best = {"quantized": quantized_state(self.model), "metrics": self.best}
            save_checkpoint(self.path / "checkpoints" / "best.pt", best)
        figures = {"epoch": self.epoch, **row, "seconds": seconds, **score}
        if seconds:
            images = self.data.steps * self.config.batch_size
            figures["images_per_second"] = images / seconds
        append_metrics(self.path, figures)
        self.followers.notify(lambda one: one.epoch(figures))
        self.epoch += 1
        save_checkpoint(self.path / "checkpoints" / "last.pt", self.state())
        name = "calibrated" if self.epoch == 1 else f"epoch {self.epoch - 1}"
        bar.update(0, f"{name}: validation Dice {score['dice_val']:.4f}")
