"""The training loop: one-cycle AdamW, validation chooses, and a killed run continues bit for bit.

It runs in one process or several (`accelerate launch`): each process computes its part of every
batch, and gradients are averaged.

`quantize.qat.finetuning` has a loop of its own on purpose: docs/adr/0025-two-training-loops.md.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accelerate
import msgspec
import torch
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import Tensor, nn

from distill.data.batch import Batch, Step
from distill.data.batches import TrainingData, step_seed
from distill.recipes.blocks import Blocks, refuse_no_blocks
from distill.recipes.objectives import Difom, Objective
from distill.recipes.published import Paper
from distill.recipes.target_monitor import TargetMonitor
from distill.recipes.weak_labels import label_weak, refuse_uneven
from distill.run_folder import (
    append_metrics,
    load_checkpoint,
    load_original,
    load_start,
    save_checkpoint,
)
from distill.students.build import Student, build_student
from distill.students.efficientnet_lite import drop_paths
from distill.train.callbacks import Followers, RunContext
from distill.train.combinations import refuse_combinations
from distill.train.logit_range import fit_logits
from distill.train.optimizer import Optimizer, frozen_stages
from distill.train.pictures import batch_picture, worst_picture
from edge.errors import TrainingError, UsageError
from edge.util.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistillConfig
    from distill.data.validation import FrameScores
    from distill.train.callbacks import RunCallback
    from edge.frame import ImageU8
    from edge.util.progress import Reporter

CHECKED_EVERY = 10
"""Number of steps between two checks of the targets."""


def build_objective(student: Student, config: DistillConfig, channels: list[int]) -> Objective:
    """The module that a recipe trains.

    Args:
        student: Trained in place.
        config: Configuration of the run.
        channels: Channels of each teacher's map.

    Raises:
        UsageError: The recipe or the student does not fit the losses.
    """
    loss, run = config.loss, config.run
    if not config.data.negatives:
        # A few frames without a polyp would hold down all logits before the student knows any.
        loss = msgspec.structs.replace(loss, clean_weight=0.0)
    refuse_combinations(student, config)
    if loss.recipe == "blocks":
        options = config.student
        known = options.pretrained or bool(options.start)
        refuse_no_blocks(student, name=options.network, has_weights=known)
        original = student.original_encoder(pretrained=options.pretrained)
        if options.start:
            load_original(Path(options.start), original.module)
        return Blocks(student, loss, run, original)
    if loss.recipe == "none" or not (channels or config.teachers.task_specs):
        return Objective(student, loss, run)
    recipe = Paper if loss.recipe == "paper" else Difom
    return recipe(student, loss, run, channels)


class Trainer:
    """One run: its student, its recipe, its optimizer and its place in the schedule.

    Args:
        run: Folder of the run, with `resolved.yaml`.
        config: Configuration of the run.
        data: Training and validation images.
        report: Shows the progress of the steps.
        callbacks: Follow the training in the main process.

    Raises:
        UsageError: The batch cannot be divided equally among the processes and parts, or an option
            does not fit the student.
    """

    def __init__(
        self,
        run: Path,
        config: DistillConfig,
        data: TrainingData,
        *,
        report: Reporter = silent,
        callbacks: Sequence[RunCallback] = (),
    ) -> None:
        self.run, self.config, self.data, self.report = run, config, data, report
        self.without_masks = config.loss.without_masks
        unused = DistributedDataParallelKwargs(
            find_unused_parameters=config.loss.recipe == "paper" or self.without_masks
        )
        self.accelerator = accelerate.Accelerator(
            cpu=not torch.cuda.is_available(), kwargs_handlers=[unused]
        )
        main = self.accelerator.is_main_process
        self.followers = Followers(callbacks if main else ())
        shares = self.accelerator.num_processes * config.run.accumulate
        if data.batch_size % shares:
            raise UsageError(
                f"a batch of {data.batch_size} cannot be computed in {shares} equal parts",
                expected="processes times accumulate to divide it",
                hint=f"batch_size={max(1, data.batch_size // shares) * shares}",
            )
        refuse_uneven(data.order, shares)
        torch.manual_seed(config.run.seed)
        self.student = build_student(config.student.network, pretrained=config.student.pretrained)
        if config.student.start:
            load_start(Path(config.student.start), self.student)
        self.student.to(memory_format=torch.channels_last)
        self.frozen = frozen_stages(self.student, config.student)
        if not config.data.negatives:
            self.frozen += self.student.freeze_presence()
        drop_path = config.student.drop_path
        if drop_path and not drop_paths(self.student, drop_path):
            raise UsageError(
                f"drop_path={drop_path:g} does not fit {config.student.name}",
                expected="a student with an EfficientNet-Lite encoder",
                hint="drop_path=0",
            )
        self.objective = build_objective(self.student, config, data.teacher_channels)
        module: nn.Module = self.objective
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        module.to(self.accelerator.device)  # before its weights are copied for the average
        self.optimizer = Optimizer(
            module, self.student, config.optimizer, config.run.epochs * data.steps
        )
        self.wrapped = self.accelerator.prepare_model(module)
        self.monitor = TargetMonitor(only_warn=config.loss.recipe == "paper")
        self.epoch = self.step = 0
        self.best: dict[str, float] = {"dice_val": -1.0, "score": -math.inf, "epoch": 0.0}
        self.sums: dict[str, float] = {}
        self.seconds = self.speed = 0.0
        self.frames: FrameScores | None = None

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimisation": self.optimizer.state_dict(),
            "guard": self.monitor.start,
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "sums": self.sums,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`, as `state()` returned it."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimisation"])
        self.monitor.start = dict(state["guard"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.sums, self.seconds = (
            dict(state["best"]),
            dict(state["sums"]),
            state["seconds"],
        )

    def train(self) -> dict[str, float]:
        """Train to the end of the schedule, or until `patience` epochs brought no better score.

        Returns:
            Validation figures of the best epoch.

        Raises:
            TrainingError: The loss is not finite, or the target monitor objects.
        """
        done = self.epoch * self.data.steps + self.step
        left = self.config.run.epochs * self.data.steps - done
        label = f"distill {self.config.student.network}" + (f" from step {done}" if done else "")
        main = self.accelerator.is_main_process
        context = RunContext(
            self.run,
            f"{self.config.student.network}, recipe {self.config.loss.recipe}",
            self.config.flat(),
            self.config.run.epochs,
            self.epoch,
        )
        self.followers.notify(lambda one: one.begin(context))
        try:
            # The remaining time is estimated from these steps, not from those before a resume.
            with (self.report if main else silent)(left, label) as bar:
                while self.epoch < self.config.run.epochs and not self._patience_is_over():
                    batch = self._train_epoch(bar)
                    self._validate(batch, bar)
            if main and not self.without_masks:
                self._fit_logits()
        except BaseException as error:
            reason = str(error) or type(error).__name__
            self.followers.notify(lambda one: one.fail(reason))
            raise
        self.followers.notify(lambda one: one.end(self.best))
        return self.best

    def _fit_logits(self) -> None:
        """Scale the logits of the best weights to the engines' grid; their masks do not change."""
        path = self.run / "checkpoints" / "best.pt"
        state = load_checkpoint(path)
        student = build_student(self.config.student.network, pretrained=False)
        student.load_state_dict(state["student"])
        factor = fit_logits(student.eval(), self.data.validation.images)
        if factor < 1.0:
            scale = factor * state.get("logit_scale", 1.0)
            save_checkpoint(path, {**state, "student": student.state_dict(), "logit_scale": scale})

    def _patience_is_over(self) -> bool:
        return 0 < self.config.run.patience <= self.epoch - self.best["epoch"]

    def _train_epoch(self, bar: Any) -> Batch | None:
        """The rest of epoch `self.epoch`.

        Returns:
            Its last batch.
        """
        self.prepare_epoch()
        begin = saved = first = time.monotonic()
        batch, images = None, 0
        for batch in self.data.batches(self.epoch, start=self.step, part=self.share()):
            if self.followers and self.epoch == self.step == 0:
                self._show("batch", batch_picture(batch))
            losses = self.train_step(batch)
            self.step += 1
            images += self.data.batch_size
            self.speed = images / (time.monotonic() - first)
            for name, value in losses.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            bar.update(
                1,
                f"epoch {self.epoch + 1}, {self.speed:.0f} images/s, loss {losses['loss']:.3f}, "
                f"best {_figure(self.best)}",
            )
            if time.monotonic() - saved > 60 * self.config.run.checkpoint_minutes:
                now = time.monotonic()
                self.seconds, begin = self.seconds + now - begin, now
                self._save("last.pt", self.state())
                saved = now
        self.seconds += time.monotonic() - begin
        return batch

    def prepare_epoch(self) -> None:
        """Enter training mode, except for what the configuration or the recipe's phase freezes."""
        self.wrapped.train()
        for stage in self.frozen:
            stage.eval()
        if self.config.student.freeze_batchnorm:
            for module in self.student.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self.objective.begin_epoch(self.epoch)

    def share(self) -> slice:
        """Samples of a batch that this process computes."""
        return slice(self.accelerator.process_index, None, self.accelerator.num_processes)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimizer step on this process's part of a batch.

        Returns:
            `loss`, `task` and, where they apply, `distill`, `cwd`, `consistency`, `boxes` and
            `boxes_kept`.

        Raises:
            TrainingError: The loss is not finite, or the target monitor objects.
        """
        self.optimizer.begin()
        # Seeded in every step, so that a resumed run draws the same numbers as a whole one.
        torch.manual_seed(
            step_seed(self.config.run.seed, self.epoch, self.step, self.accelerator.process_index)
        )
        side = self.data.training_side(self.student.divisor, self.epoch, self.step)
        parts = self.config.run.accumulate
        figures: dict[str, float] = {}
        for number in range(parts):
            part = batch.part(slice(number, None, parts), self.accelerator.device)
            last = number == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                labeled = label_weak(self.optimizer.scored, part, side, self.config.loss.box_fit)
                losses = self.wrapped(labeled, Step(self.epoch, self.step))
                values = losses.figures()
                self._refuse_nonfinite(values["loss"], batch)
                if self.step % CHECKED_EVERY == 0:
                    for name, target, loss in zip(
                        self._teacher_names(losses.targets),
                        losses.targets,
                        losses.distillation[: len(losses.targets)],
                        strict=True,
                    ):
                        self.monitor.check(name, target, loss.item())
                self.accelerator.backward(losses.total / parts)
            for name, value in values.items():
                figures[name] = figures.get(name, 0.0) + value / parts
        self.optimizer.step()
        return figures

    def _teacher_names(self, targets: list[Tensor]) -> list[str]:
        names = ["fused"] if self.config.loss.recipe == "paper" else self.config.teachers.specs
        return names[: len(targets)]

    def _refuse_nonfinite(self, loss: float, batch: Batch) -> None:
        if math.isfinite(loss):
            return
        path = self.run / "checkpoints" / "diverged-batch.pt"
        save_checkpoint(
            path,
            {"images": batch.images, "masks": batch.masks, "epoch": self.epoch, "step": self.step},
        )
        raise TrainingError(
            f"the loss became {loss} in epoch {self.epoch + 1}, step {self.step + 1}",
            expected="a finite loss",
            got=f"the batch is saved as {path}",
            hint=f"lr={self.config.optimizer.lr / 3:g}, or look at the batch",
        )

    def _validate(self, batch: Batch | None, bar: Any) -> None:
        """Validate the student or the average of its weights, keep the best, and end the epoch."""
        scored = self.optimizer.scored
        score = [self._score() if self.accelerator.is_main_process else {}]
        broadcast_object_list(score)
        row = self._mean_losses()
        if batch is not None:
            part = batch.part(slice(None), self.accelerator.device)
            self.objective.eval()
            for name, (low, high) in zip(
                self.config.teachers.specs, self.objective.fit(part), strict=False
            ):
                row |= {f"r2_low/{name}": low, f"r2_high/{name}": high}
        row |= {
            "epoch": self.epoch + 1,
            "lr": self.optimizer.lr,
            "seconds": self.seconds,
            "images_per_second": round(self.speed, 1),
            **score[0],
        }
        if score[0]["score"] > self.best["score"]:
            self.best = {"epoch": float(self.epoch + 1), **score[0]}
            self._save("best.pt", {"student": scored.state_dict(), "metrics": self.best})
            self._show_worst(scored)
        if self.accelerator.is_main_process:
            append_metrics(self.run, row)
            self.followers.notify(lambda one: one.epoch(row))
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        self._save("last.pt", self.state())
        bar.update(
            0,
            f"epoch {self.epoch}, validation {_figure(score[0])}{_clean(score[0])}, "
            f"best {_figure(self.best)}{_clean(self.best)}",
        )

    def _show_worst(self, model: nn.Module) -> None:
        """Draw the validation frames with the lowest Dice for whoever follows the training."""
        if not self.followers or self.frames is None:
            return
        names = [
            Path(sample.image).stem
            for sample in (*self.data.splits.validation, *self.data.splits.clean_validation)
        ]
        picture = worst_picture(model, self.data.validation, self.frames.dice_of_each(), names)
        if picture is not None:
            self._show("worst", picture)

    def _show(self, name: str, picture: ImageU8) -> None:
        self.followers.notify(lambda one: one.picture(name, picture))

    def _score(self) -> dict[str, float]:
        """Validation figures, whose `score` chooses the best epoch.

        Without masks it is the negative mean distillation loss of the validation frames,
        `distill_val`.
        """
        scored = self.optimizer.scored
        self.frames = self.data.score_frames(scored)
        figures = self.frames.figures()
        if not (self.without_masks and isinstance(self.objective, Difom | Blocks)):
            return figures
        self.objective.eval()
        total, frames = 0.0, 0
        for batch in self.data.held_out_batches():
            part = batch.part(slice(None), self.accelerator.device)
            loss = self.objective.held_out_loss(part, scored).item()
            total, frames = total + loss * len(part.images), frames + len(part.images)
        return figures | {"distill_val": total / frames, "score": -total / frames}

    def _mean_losses(self) -> dict[str, float]:
        """Mean losses of this epoch over all processes."""
        names = sorted(self.sums)
        sums = torch.tensor([self.sums[name] for name in names], dtype=torch.float64)
        sums = self.accelerator.reduce(sums.to(self.accelerator.device), "mean")
        return dict(zip(names, (sums / self.data.steps).tolist(), strict=True))

    def _save(self, name: str, state: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.run / "checkpoints" / name, state)


def _figure(figures: dict[str, float]) -> str:
    """The figure that chooses the epoch, for the progress bar."""
    if "distill_val" in figures:
        return f"held-out loss {figures['distill_val']:.4f}"
    return f"Dice {figures['dice_val']:.4f}"


def _clean(figures: dict[str, float]) -> str:
    """Validation figure of clean frames, for the progress bar."""
    return (
        f" ({figures['flagged_val']:.0%} of clean frames flagged)"
        if "flagged_val" in figures
        else ""
    )
