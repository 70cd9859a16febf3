"""Run a quantization: check that it can succeed, calibrate, fine-tune, export and judge it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill.data.load import open_data
from distill.data.split_record import write_splits
from distill.losses.task import TASK_LOSSES
from distill.run_folder import describe_run, keep_metrics_before
from distill.run_lock import sole_trainer
from distill.run_progress import lock_of
from distill.train.followers import make_callbacks
from edge.datasets.pairs import Pair
from edge.errors import DataError, UsageError
from edge.util.files import refuse_existing, write_json
from edge.util.progress import silent
from quantize.certify.accuracy import PTQ, score_student
from quantize.export.engines import export_engines
from quantize.graph.canonical import canonicalize
from quantize.qat.finetuning import FRESH_HEADS_LR, Finetuning
from quantize.qat.keep_distillation import build_kept_objective, load_heads, refuse_without_recipe
from quantize.qat.nncf import quantize_student, restore
from quantize.runs.folder import (
    MIN_CALIBRATION,
    QatConfig,
    QuantizedRun,
    bits_of,
    example_input,
    load_for_engines,
    load_qat_checkpoint,
    load_qat_config,
    load_quantized,
    qat_path,
)
from quantize.runs.record import Start, read_start
from quantize.runs.report import refuse_breach, write_report
from quantize.runs.splits import SPLITS, clean_validation, recorded_splits
from quantize.runs.training_only import refuse_training_only_run

if TYPE_CHECKING:
    from torch import Tensor

    from distill.data.batches import TrainingData
    from distill.run_folder import LoadedRun
    from distill.train.callbacks import RunCallback
    from edge.util.progress import Reporter


logger = logging.getLogger(__name__)


class _Setting(NamedTuple):
    """Values that a new and a resumed quantization share."""

    path: Path
    config: QatConfig
    loaded: LoadedRun
    data: TrainingData
    pairs: list[Pair]
    report: Reporter
    callbacks: list[RunCallback]


def train_qat(
    run: Path,
    config: QatConfig | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    report: Reporter = silent,
) -> QuantizedRun:
    """Quantize a run's student, fine-tune it, export its engines, compare and judge them.

    Writes RUN/qat8 (RUN/qat4 with 4-bit weights) with `resolved.yaml`, `splits.json`,
    `calibrated.json`, `metrics.jsonl`, `train.log`, `results.html`, `checkpoints/`, `engines/`,
    `engines-f32/`, `parity.json` and `report.json`. The run's trackers follow it.

    Args:
        run: Folder of the distillation, or of one of its quantizations.
        config: Configuration; None for the defaults. With `resume` only its `bits` are used.
        resume: Continue a stopped quantization, to the same result.
        force: Replace an existing quantization.
        report: Shows the progress; `edge_difom.cli.console.progress` draws it on a terminal.

    Raises:
        UsageError: Unsupported bits, unknown layers, no run, already quantized, nothing to resume,
            a student that cannot be exported, or no recipe to keep on. All of these are found
            before training.
        TrainingError: Weights or loss are not finite, or a checkpoint is damaged or does not fit.
        DataError: The run's images cannot be used, are not those it was trained on, or are too few.
        BusyError: Another process quantizes the run.
        AccuracyError: INT8 lost more than `max_drop` or `max_small_drop`. Everything is written
            before it is raised.
    """
    path = qat_path(run, config.bits if config else None)
    config = _resumed(path) if resume else config or QatConfig(bits=bits_of(path))
    if config.layers and config.bits == 8:
        raise UsageError(
            "only a quantization to 4 bits has a choice of layers", expected="bits=4", got="bits=8"
        )
    loaded = load_for_engines(path.parent)
    refuse_training_only_run(loaded.config, path.parent)
    if loaded.config.loss.without_masks:
        raise UsageError(
            f"{path.parent} has not learned the task",
            expected="a student that was trained on masks",
            got=f"recipe {loaded.config.loss.recipe}, schedule {loaded.config.loss.schedule}",
            hint=f"train on masks from its weights first, with start={path.parent}",
        )
    if config.distill_weight:
        refuse_without_recipe(loaded.config)
    if not resume:
        refuse_existing(path, force=force)
    callbacks = make_callbacks(loaded.config.run.track)
    # Fail before training if an engine cannot express the student.
    export_engines(canonicalize(loaded.student, (loaded.config.data.size, loaded.config.data.size)))
    settings = loaded.config.changed(
        batch_size=config.batch_size,
        negatives=config.negatives or loaded.config.data.negatives,
        unlabeled=[],
        boxes=[],
    )
    if not settings.data.negatives:
        loaded.student.freeze_presence()
    data = open_data(
        settings,
        with_teachers=config.distill_weight > 0,
        recorded=recorded_splits(path, config, loaded.config, resume=resume),
        report=report,
    )
    pairs = [
        Pair(
            Path(sample.image),
            Path(sample.mask),
            "/".join(filter(None, (sample.dataset, Path(sample.image).stem))),
        )
        for sample in data.splits.validation
    ]
    setting = _Setting(path, config, loaded, data, pairs, report, callbacks)
    with sole_trainer(lock_of(path)):
        tuning = _continue(setting) if resume else _start(setting)
        start = read_start(path)
        tuning.train()
        quantized = load_quantized(path)
        clean = clean_validation(data.splits)
        record = write_report(quantized, pairs, data.validation, start, report, clean=clean)
    refuse_breach(record, quantized)
    return quantized


def calibration_images(data: TrainingData, count: int) -> list[Tensor]:
    """Return `count` training images (1, 3, H, W) for calibration, or all with a warning.

    Raises:
        DataError: There are fewer than `MIN_CALIBRATION`.
    """
    samples = list(data.calibration(count))
    if len(samples) < MIN_CALIBRATION:
        raise DataError(
            f"{len(samples)} images are too few to calibrate on",
            expected=f"at least {MIN_CALIBRATION} training images",
            got=f"{len(data.train)} training images, calibration={count}",
            hint="more training images, or calibration=64",
        )
    if len(samples) < count:
        logger.warning("calibrating on all %d images; %d were requested", len(samples), count)
    return samples


def _start(setting: _Setting) -> Finetuning:
    path, config, loaded, data, pairs, progress, callbacks = setting
    size = loaded.config.data.size
    samples = calibration_images(data, config.calibration)
    model = quantize_student(loaded.student, samples, bits=config.bits, layers=config.layers)
    export_engines(canonicalize(model, (size, size)))
    objective, trained = None, False
    if config.distill_weight:
        objective = build_kept_objective(
            loaded, model, data.teacher_channels, config.distill_weight
        )
        trained = load_heads(objective, loaded, model, samples)
    clean = clean_validation(data.splits)
    with progress(len(pairs) + len(clean), "score the calibrated student") as bar:
        accuracy = score_student(
            PTQ, model, loaded.config, pairs, lambda _: bar.update(), clean=clean
        )
    if path.exists():
        shutil.rmtree(path)
    describe_run(path, config)
    write_splits(path / SPLITS, data.splits)
    heads = None if objective is None else "run" if trained else "fresh"
    start = Start(accuracy=accuracy, images=len(samples), heads=heads)
    write_json(path / "calibrated.json", start)
    heads_lr = FRESH_HEADS_LR if heads == "fresh" else None
    task_loss = TASK_LOSSES[loaded.config.loss.task_loss]
    return Finetuning(
        path,
        config,
        data,
        model,
        objective,
        task_loss=task_loss,
        heads_lr=heads_lr,
        box_weight=loaded.config.loss.detection_weight,
        report=progress,
        callbacks=callbacks,
    )


def _continue(setting: _Setting) -> Finetuning:
    path, config, loaded, data, _, progress, callbacks = setting
    keys = ("quantized", "objective", "optimizer", "epoch", "best")
    state = load_qat_checkpoint(path / "checkpoints" / "last.pt", keys)
    model = restore(loaded.student, state["quantized"], example_input(loaded.config.data.size))
    objective = None
    if config.distill_weight:
        objective = build_kept_objective(
            loaded, model, data.teacher_channels, config.distill_weight
        )
    task_loss = TASK_LOSSES[loaded.config.loss.task_loss]
    tuning = Finetuning(
        path,
        config,
        data,
        model,
        objective,
        task_loss=task_loss,
        box_weight=loaded.config.loss.detection_weight,
        report=progress,
        callbacks=callbacks,
    )
    tuning.restore(state)
    keep_metrics_before(path, tuning.epoch)
    return tuning


def _resumed(path: Path) -> QatConfig:
    if not (path / "checkpoints" / "last.pt").is_file():
        raise UsageError(
            f"{path} holds nothing to resume",
            hint="quantize the run first",
            code="not-quantized",
            values={"run": path.parent, "bits": bits_of(path)},
        )
    return load_qat_config(path)
