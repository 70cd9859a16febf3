"""The training loop: one-cycle AdamW, validation decides, and a killed run continues bit for bit."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.batches import Batch, TrainingData, open_data
from distill.losses import spectral_loss, structure_loss
from distill.runs import (
    append_metrics,
    describe_run,
    keep_metrics_before,
    load_checkpoint,
    load_config,
    new_run_path,
    save_checkpoint,
)
from distill.students import Student, StudentMaps, build_student
from edge.console import progress
from edge.errors import TrainingError, UsageError
from edge.files import refuse_existing

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig


class SpectralHeads(nn.Module):
    """1x1 projections of a student's two maps to a teacher's channels; absent from the export.

    Args:
        student: Whose maps are projected.
        channels: The teacher's channels.
    """

    def __init__(self, student: Student, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(student.low_channels, channels, 1)
        self.high = nn.Conv2d(student.high_channels, channels, 1)

    def loss(self, maps: StudentMaps, target: Tensor, radius: int) -> Tensor:
        """Spectral loss at the teacher's grid; `target` is (B, channels, gh, gw)."""
        grid = target.shape[-2:]
        low = nn.functional.interpolate(maps.low, size=grid, mode="bilinear", align_corners=False)
        high = nn.functional.interpolate(maps.high, size=grid, mode="bilinear", align_corners=False)
        return spectral_loss(self.low(low), self.high(high), target, radius=radius)


class Trainer:
    """One run: its student, teacher heads, optimiser and place in the schedule.

    Args:
        run: Folder of the run, with `resolved.yaml`.
        config: Its configuration.
        data: Its images.
    """

    def __init__(self, run: Path, config: DistillConfig, data: TrainingData) -> None:
        self.run, self.config, self.data = run, config, data
        torch.manual_seed(config.seed)
        self.student = build_student(config.student, pretrained=config.pretrained)
        self.student.to(memory_format=torch.channels_last)
        self.heads = [SpectralHeads(self.student, c) for c in data.teacher_channels]
        self.head_modules = nn.ModuleList(self.heads)
        weights = [*self.student.parameters(), *self.head_modules.parameters()]
        self.optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=config.lr, total_steps=config.epochs * data.steps, pct_start=0.2
        )
        self.epoch = self.step = 0
        self.best: dict[str, float] = {"dice_val": -1.0, "epoch": -1.0}
        self.sums: dict[str, float] = {}
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "heads": self.head_modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "sums": self.sums,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.student.load_state_dict(state["student"])
        self.head_modules.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.sums, self.seconds = dict(state["best"]), dict(state["sums"]), state["seconds"]

    def train(self) -> dict[str, float]:
        """Run to the end of the schedule, or until patience is spent.

        Returns:
            Validation figures of the best epoch.

        Raises:
            TrainingError: The loss is no longer finite.
        """
        steps = self.config.epochs * self.data.steps
        with progress(steps, f"distil {self.config.student}") as bar:
            bar.update(self.epoch * self.data.steps + self.step)
            while self.epoch < self.config.epochs and not self._spent():
                self._train_epoch(bar)
                self._validate(bar)
        return self.best

    def _spent(self) -> bool:
        return 0 < self.config.patience <= self.epoch - 1 - self.best["epoch"]

    def _train_epoch(self, bar: Any) -> None:
        self.student.train()
        begin = saved = time.monotonic()
        for batch in self.data.batches(self.epoch, start=self.step):
            losses = self.train_step(batch)
            self.step += 1
            for name, value in losses.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            bar.update(
                1, f"epoch {self.epoch + 1}, loss {losses['loss']:.3f}, best Dice {self.best['dice_val']:.3f}"
            )
            if time.monotonic() - saved > 60 * self.config.checkpoint_minutes:
                now = time.monotonic()
                self.seconds, begin = self.seconds + now - begin, now
                save_checkpoint(self.run / "checkpoints" / "last.pt", self.state())
                saved = now
        self.seconds += time.monotonic() - begin

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step.

        Returns:
            `loss`, `task` and, where there are teachers, `distill`.
        """
        maps = self.student.maps(batch.images)
        task = structure_loss(maps.logits, batch.masks)
        total = task
        losses = {"task": task.item()}
        if self.heads:
            terms = [
                head.loss(maps, target, self.config.radius)
                for head, target in zip(self.heads, batch.targets, strict=True)
            ]
            distill = torch.stack(terms).mean()
            total = task + self.config.distill_weight * distill
            losses["distill"] = distill.item()
        losses["loss"] = total.item()
        if not math.isfinite(losses["loss"]):
            path = self.run / "checkpoints" / "diverged-batch.pt"
            save_checkpoint(
                path, {"images": batch.images, "masks": batch.masks, "epoch": self.epoch, "step": self.step}
            )
            raise TrainingError(
                f"the loss became {losses['loss']} in epoch {self.epoch + 1}, step {self.step + 1}",
                expected="a finite loss",
                got=f"the batch is saved as {path}",
                mend=f"--lr {self.config.lr / 3:g}, or look at the batch",
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.schedule.step()
        return losses

    def _validate(self, bar: Any) -> None:
        score = self.data.validate(self.student)
        row = {name: value / self.data.steps for name, value in self.sums.items()}
        row |= {
            "epoch": self.epoch,
            "lr": float(self.schedule.get_last_lr()[0]),
            "seconds": self.seconds,
            **score,
        }
        if score["dice_val"] > self.best["dice_val"]:
            self.best = {"epoch": float(self.epoch), **score}
            save_checkpoint(
                self.run / "checkpoints" / "best.pt",
                {"student": self.student.state_dict(), "metrics": self.best},
            )
        append_metrics(self.run, row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        save_checkpoint(self.run / "checkpoints" / "last.pt", self.state())
        bar.update(
            0,
            f"epoch {self.epoch}, validation Dice {score['dice_val']:.4f}, best {self.best['dice_val']:.4f}",
        )


def train_run(
    config: DistillConfig | None, *, out: Path | None = None, resume: Path | None = None, force: bool = False
) -> Path:
    """Distil a student, from the start or from where a run stopped.

    Args:
        config: Of a new run; None with `resume`.
        out: Folder of a new run; by default one named after the time.
        resume: Folder of a run to continue.
        force: Train again in a folder that holds something.

    Returns:
        The run's folder.

    Raises:
        UsageError: `out` holds something already, or `resume` holds no run.
        TrainingError: Training diverged, or the checkpoint cannot be read.
        DataError: The images cannot be used.
    """
    if resume is not None:
        config = load_config(resume)
    if config is None:
        raise UsageError("nothing to train", expected="a configuration or a run to resume")
    run = resume or out or new_run_path("distill", config.student)
    if resume is None:
        refuse_existing(run, force=force)
        # Build before anything is written: an unknown student or unusable data leaves no folder behind.
    data = open_data(config)
    trainer = Trainer(run, config, data)
    if resume is not None:
        trainer.restore(load_checkpoint(run / "checkpoints" / "last.pt"))
        keep_metrics_before(run, trainer.epoch)
    else:
        (run / "metrics.jsonl").unlink(missing_ok=True)
        describe_run(run, config)
        data.write_splits(run / "splits.json")
    trainer.train()
    return run
