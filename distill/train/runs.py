"""Distillation runs from their start to their end: one training, or stages and their mean.

A run folder is owned by one process group at a time; a run that was stopped continues where it was.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import accelerate
import torch
from accelerate.utils import broadcast_object_list

from distill.data.load import draw_splits, open_data
from distill.data.split_record import read_splits, write_splits
from distill.data.teacher_splits import refuse_seen_validation
from distill.run_folder import describe_run, keep_metrics_before, load_checkpoint, load_config
from distill.run_lock import owned_run, refuse_busy, refuse_occupied
from distill.teachers.build import build_teacher
from distill.train.followers import make_callbacks
from distill.train.stages import average_stages, run_stages, stage_config, stage_path
from distill.train.stages_page import StagesPage
from distill.train.trainer import Trainer
from edge.errors import UsageError
from edge.util.progress import silent
from edge.util.spec import expand, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from distill.config import DistillConfig
    from distill.data.batches import TrainingData
    from distill.data.splits import Splits
    from distill.train.callbacks import RunCallback
    from edge.util.progress import Reporter


def start_run(
    config: DistillConfig,
    *,
    out: Path | None = None,
    force: bool = False,
    report: Reporter = silent,
    callbacks: Sequence[RunCallback] = (),
) -> Path:
    """Distill a student from the start.

    Args:
        config: Everything that decides the outcome.
        out: Folder of the run; None names one after the time, under `EDGE_DIFOM_RUNS` or ./runs.
        force: Train again in a folder that is not empty.
        report: Shows the progress; `edge_difom.cli.console.progress` draws it on a terminal.
        callbacks: Further followers of the training; of a run with stages, of each stage.

    Returns:
        The run's folder.

    Raises:
        UsageError: `out` is not empty, or the configuration names something unknown.
        BusyError: A different process trains in `out`.
        TrainingError: Training diverged.
        DataError: The images cannot be used.
        MissingDependencyError: A tracker is not installed.
    """
    process = _process()
    if out is not None and process.is_main_process:
        refuse_busy(out)
        refuse_occupied(out, force=force)
    if run_stages(config):
        return _start_stages(process, config, out, callbacks, force=force, report=report)
    callbacks = [*make_callbacks(config.run.track), *callbacks]
    # Open before anything is written: an unknown student or unusable data leaves no folder behind.
    data = _open(process, config, None, report)
    with _owned(process, out, config.student.network, force=force) as run:
        trainer = Trainer(run, config, data, report=report, callbacks=callbacks)
        if process.is_main_process:
            (run / "metrics.jsonl").unlink(missing_ok=True)
            describe_run(run, config)
            write_splits(run / "splits.json", data.splits)
        process.wait_for_everyone()
        trainer.train()
    return run


def resume_run(
    run: Path, *, report: Reporter = silent, callbacks: Sequence[RunCallback] = ()
) -> Path:
    """Continue a distillation where it stopped, to the same weights bit for bit.

    Args:
        run: Folder of the run.
        report: As in `start_run`.
        callbacks: As in `start_run`.

    Returns:
        The run's folder.

    Raises:
        UsageError: The folder is not a run directory.
        BusyError: A different process trains there.
        TrainingError: Training diverged, or the checkpoint cannot be read.
        DataError: The images cannot be used, or are not those that the run was trained on.
    """
    config = load_config(run)
    process = _process()
    with _owned(process, run, config.student.network, resume=True):
        if run_stages(config):
            _train_stages(process, run, config, report, callbacks)
            return run
        state = load_checkpoint(run / "checkpoints" / "last.pt")
        recorded = read_splits(run / "splits.json", unlabeled=True)
        data = _open(process, config, recorded, report)
        followers = [*make_callbacks(config.run.track), *callbacks]
        trainer = Trainer(run, config, data, report=report, callbacks=followers)
        trainer.restore(state)
        if process.is_main_process:
            keep_metrics_before(run, trainer.epoch + 1)
        process.wait_for_everyone()
        trainer.train()
    return run


def can_resume(run: Path) -> bool:
    """Whether a folder holds a run that `resume_run` can continue."""
    if not (run / "resolved.yaml").is_file():
        return False
    return bool(run_stages(load_config(run))) or (run / "checkpoints" / "last.pt").is_file()


def is_finished(run: Path) -> bool:
    """Whether a folder holds a run that needs no further training."""
    if not can_resume(run) or not (run / "checkpoints" / "best.pt").is_file():
        return False
    config = load_config(run)
    if run_stages(config):
        return True  # the mean of the stages is written last
    path = run / "metrics.jsonl"
    return path.is_file() and len(path.read_bytes().splitlines()) >= config.run.epochs


def ensure_trained(config: DistillConfig, run: Path, *, report: Reporter = silent) -> Path:
    """Train a run, continue one that was stopped, or keep one that is finished.

    Args:
        config: Everything that decides the outcome.
        run: Folder of the run.
        report: As in `start_run`.

    Returns:
        The run's folder.

    Raises:
        UsageError: The folder holds a run with different settings.
        EdgeDifomError: As `start_run` and `resume_run` raise.
    """
    if not can_resume(run):
        return start_run(config, out=run, force=True, report=report)
    if load_config(run) != config:
        raise UsageError(
            f"{run} was trained with different settings",
            hint="remove it, or choose a different folder of runs",
        )
    return run if is_finished(run) else resume_run(run, report=report)


def _start_stages(
    process: accelerate.PartialState,
    config: DistillConfig,
    out: Path | None,
    callbacks: Sequence[RunCallback],
    *,
    force: bool,
    report: Reporter,
) -> Path:
    """Start a run of several trainings; see `start_run`."""
    stages = [stage_config(config, stage, out) for stage in run_stages(config)]
    _refuse_missing_teachers(stages)
    splits = draw_splits(config.data)
    later = {spec for stage in stages for spec in stage.all_teachers}
    # A teacher that an earlier stage makes is not there yet, and sees the same split.
    present = [spec for spec in sorted(later) if expand(parse(spec).target).exists()]
    refuse_seen_validation(present, splits)
    with _owned(process, out, config.student.network, force=force) as run:
        if process.is_main_process:
            for name in ("metrics.jsonl", "checkpoints/best.pt"):
                (run / name).unlink(missing_ok=True)
            describe_run(run, config)
            write_splits(run / "splits.json", splits)
            for stage in run_stages(config):
                shutil.rmtree(stage_path(run, stage.name), ignore_errors=True)
        process.wait_for_everyone()
        _train_stages(process, run, config, report, callbacks)
    return run


def _refuse_missing_teachers(stages: Sequence[DistillConfig]) -> None:
    """Load the teachers that only later stages use, before hours are spent on the first ones.

    Raises:
        EdgeDifomError: As `build_teacher` raises.
    """
    first = set(stages[0].taught_by)
    later = {spec for stage in stages[1:] for spec in stage.taught_by}
    for spec in sorted(later - first):
        if not spec.startswith("run:"):  # perhaps an earlier stage
            build_teacher(spec)


def _train_stages(
    process: accelerate.PartialState,
    run: Path,
    config: DistillConfig,
    report: Reporter,
    callbacks: Sequence[RunCallback],
) -> None:
    """Begin or continue every stage of a run, and write the mean of their best weights."""
    page = StagesPage(run, config)
    followers = [*callbacks, page]
    with page.followed() if process.is_main_process else nullcontext():
        for stage in run_stages(config):
            path = stage_path(run, stage.name)
            if can_resume(path):
                resume_run(path, report=report, callbacks=followers)
            else:
                stage_settings = stage_config(config, stage, run)
                start_run(stage_settings, out=path, force=True, report=report, callbacks=followers)
        if process.is_main_process:
            splits = read_splits(run / "splits.json")
            # Only validation frames are needed, and what fits a stage need not fit the run.
            frames = config.changed(unlabeled=[], boxes=[], images=[])
            data = open_data(frames, recorded=splits, with_teachers=False)
            page.result = average_stages(run, config, data)
        process.wait_for_everyone()


def is_main_process() -> bool:
    """Whether this process speaks for all that train together."""
    return bool(_process().is_main_process)


def _process() -> accelerate.PartialState:
    return accelerate.PartialState(cpu=not torch.cuda.is_available())


def _open(
    process: accelerate.PartialState,
    config: DistillConfig,
    recorded: Splits | None,
    report: Reporter,
) -> TrainingData:
    with process.main_process_first():
        shown_report = report if process.is_main_process else silent
        return open_data(config, recorded=recorded, report=shown_report)


@contextmanager
def _owned(
    process: accelerate.PartialState,
    run: Path | None,
    name: str,
    *,
    resume: bool = False,
    force: bool = False,
) -> Iterator[Path]:
    """Own the run's folder: the main process names and locks it, because clocks differ."""
    if not process.is_main_process:
        names = [run]
        broadcast_object_list(names)
        assert names[0] is not None
        yield names[0]
        return
    with owned_run(run, name, resume=resume, force=force) as path:
        broadcast_object_list([path])
        yield path
