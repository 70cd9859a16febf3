"""Quantization-aware fine-tuning: calibrated start as epoch 0, Adam on a cosine, best by validation."""

from __future__ import annotations

import math
import shutil
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import torch
from torch import nn

from distill.batches import open_data
from distill.config import read_config_file
from distill.losses import structure_loss
from distill.runs import (
    LoadedRun,
    append_metrics,
    describe_run,
    keep_metrics_before,
    load_checkpoint,
    load_run,
    save_checkpoint,
)
from edge import console
from edge.errors import TrainingError, UsageError
from edge.files import atomic_write, refuse_existing
from quantize.alignment import align
from quantize.canonical import canonicalize
from quantize.export import ExportedEngine, export_engines
from quantize.nncf_qat import freeze_ranges, quantize_student, quantized_state, restore
from quantize.parity import PARITY_FRAMES, FrameSet, parity_rows
from quantize.runs import QatConfig, QuantizedRun, example_input, load_quantized, make_qat_config, qat_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distill.batches import Batch, TrainingData
    from edge.types import ImageU8


class FinetuningData(Protocol):
    """What fine-tuning needs of `distill.batches.TrainingData`."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Training batches of an epoch from step `start` on."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """`dice_val` and `iou_val` of a model."""
        ...


class Finetuning:
    """One quantized student on its way: optimiser, place in the schedule, best so far.

    Args:
        path: RUN/qat8.
        config: How it is quantized.
        data: Images of the run.
        model: From `quantize_student` or `restore`.
    """

    def __init__(self, path: Path, config: QatConfig, data: FinetuningData, model: nn.Module) -> None:
        self.path, self.config, self.data, self.model = path, config, data, model
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained, lr=config.lr)
        self.epoch = 0
        self.best: dict[str, float] = {"dice_val": -1.0, "epoch": -1.0}

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "quantized": quantized_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue behind the epoch that `state` was saved after."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best = int(state["epoch"]), dict(state["best"])

    def train(self) -> dict[str, float]:
        """Validate the calibrated student, then fine-tune to the last epoch.

        Returns:
            Validation figures of the best epoch.

        Raises:
            TrainingError: The loss is no longer finite.
        """
        with console.progress(max(1, self.config.epochs * self.data.steps), "fine-tune") as bar:
            bar.update(max(0, self.epoch - 1) * self.data.steps)
            if self.epoch == 0:
                self._validate({}, 0.0, bar)
            while self.epoch <= self.config.epochs:
                begin = time.monotonic()
                loss = self._train_epoch(bar)
                self._validate({"loss": loss}, time.monotonic() - begin, bar)
        return self.best

    def _train_epoch(self, bar: Any) -> float:
        """Epoch `self.epoch`, counted from 1. The model stays in eval mode: BatchNorm and dropout are frozen."""
        if 2 * self.epoch > self.config.epochs:
            # Weights settle on a grid that no longer moves (Krishnamoorthi, 2018, section 4).
            freeze_ranges(self.model)
        total = 0.0
        for step, batch in enumerate(self.data.batches(self.epoch - 1)):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate(step)
            loss = structure_loss(self.model(batch.images), batch.masks)
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"the loss became {loss.item()} in epoch {self.epoch}, step {step + 1}",
                    expected="a finite loss",
                    mend=f"--lr {self.config.lr / 3:g}",
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained, 5.0)
            self.optimizer.step()
            total += loss.item()
            bar.update(
                1, f"epoch {self.epoch}, loss {loss.item():.3f}, best Dice {self.best['dice_val']:.4f}"
            )
        align(self.model, batch.images[:1])
        return total / self.data.steps

    def _rate(self, step: int) -> float:
        """Half a cosine over all steps, down to a hundredth."""
        done = ((self.epoch - 1) * self.data.steps + step) / (self.config.epochs * self.data.steps)
        return self.config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def _validate(self, row: dict[str, float], seconds: float, bar: Any) -> None:
        score = self.data.validate(self.model)
        if score["dice_val"] > self.best["dice_val"]:
            self.best = {"epoch": float(self.epoch), **score}
            best = {"quantized": quantized_state(self.model), "metrics": self.best}
            save_checkpoint(self.path / "checkpoints" / "best.pt", best)
        append_metrics(self.path, {"epoch": self.epoch, **row, "seconds": seconds, **score})
        self.epoch += 1
        save_checkpoint(self.path / "checkpoints" / "last.pt", self.state())
        name = "calibrated" if self.epoch == 1 else f"epoch {self.epoch - 1}"
        bar.update(0, f"{name}: validation Dice {score['dice_val']:.4f}")


def train_qat(
    run: Path, config: QatConfig | None = None, *, resume: bool = False, force: bool = False
) -> QuantizedRun:
    """Quantize a run's student, fine-tune it, export its engines and compare them.

    Writes RUN/qat8 with `resolved.yaml`, `metrics.jsonl`, `checkpoints/`, `engines/`, `engines-f32/`,
    `parity.json` and `report.json`.

    Args:
        run: Folder of the distillation.
        config: None for the defaults; not used with `resume`.
        resume: Continue where it stopped, to the same result.
        force: Quantize again.

    Raises:
        UsageError: Unsupported bits, no run, done already, nothing to resume, or a student that cannot be
            exported (found before training).
        TrainingError: Weights or loss are not finite, or a checkpoint does not fit.
        DataError: The run's images cannot be used.
    """
    path = qat_path(run)
    config = _resumed(path) if resume else config or QatConfig()
    if config.bits != 8:
        raise UsageError(f"--bits {config.bits} is not supported", expected="8", mend="--bits 8")
    loaded = load_run(run)
    if not resume:
        refuse_existing(path, force=force)
    size = (loaded.config.size, loaded.config.size)
    # Whatever no engine can express is found now and not after the training.
    export_engines(canonicalize(loaded.student, size))
    data = open_data(
        msgspec.structs.replace(loaded.config, batch_size=config.batch_size), with_teachers=False
    )
    tuning = _continue(path, config, data, loaded) if resume else _start(path, config, data, loaded)
    tuning.train()
    quantized = load_quantized(run)
    write_engines(quantized, data.validation.images[:: max(1, len(data.validation) // PARITY_FRAMES)])
    return quantized


def write_engines(quantized: QuantizedRun, frames: ImageU8) -> list[ExportedEngine]:
    """Write the engines, `parity.json` and `report.json` of a quantized run.

    Args:
        quantized: From `load_quantized`.
        frames: (N, H, W, 3) uint8 RGB at the input size, to compare on.
    """
    path, source = quantized.path, quantized.source
    plain = canonicalize(source.student, quantized.canonical.size)
    engines = export_engines(quantized.canonical) + export_engines(plain)
    rows = parity_rows(
        source.student, quantized.model, quantized.canonical, engines, FrameSet("validation", frames)
    )
    for engine in engines:
        engine.write(path)
    _write_json(path / "parity.json", rows)
    report = {
        "student": source.config.student,
        "dice_val": {
            "f32": source.metrics["dice_val"],
            "calibrated": _calibrated(path),
            "quantized": quantized.metrics["dice_val"],
        },
        "best_epoch": int(quantized.metrics["epoch"]),
        "engines": [
            {
                "runtime": engine.runtime,
                "precision": engine.precision,
                "bytes": sum(len(content) for content in engine.contents),
                "float_ops": engine.float_ops,
            }
            for engine in engines
        ],
        "parity": rows,
    }
    _write_json(path / "report.json", report)
    return engines


def _start(path: Path, config: QatConfig, data: TrainingData, loaded: LoadedRun) -> Finetuning:
    samples = list(data.calibration(config.calibration))
    model = quantize_student(loaded.student, samples)
    if path.exists():
        shutil.rmtree(path)
    describe_run(path, config)
    return Finetuning(path, config, data, model)


def _continue(path: Path, config: QatConfig, data: TrainingData, loaded: LoadedRun) -> Finetuning:
    state = load_checkpoint(path / "checkpoints" / "last.pt")
    model = restore(loaded.student, state["quantized"], example_input(loaded.config.size))
    tuning = Finetuning(path, config, data, model)
    tuning.restore(state)
    keep_metrics_before(path, tuning.epoch)
    return tuning


def _resumed(path: Path) -> QatConfig:
    if not (path / "checkpoints" / "last.pt").is_file():
        raise UsageError(f"{path} holds nothing to resume", mend=f"edge-difom qat {path.parent}")
    return make_qat_config(read_config_file(path / "resolved.yaml"))


def _calibrated(path: Path) -> float:
    rows = [msgspec.json.decode(line) for line in (path / "metrics.jsonl").read_bytes().splitlines() if line]
    return float(next(row["dice_val"] for row in rows if row["epoch"] == 0))


def _write_json(path: Path, record: Any) -> None:
    atomic_write(path, msgspec.json.format(msgspec.json.encode(record), indent=2))
