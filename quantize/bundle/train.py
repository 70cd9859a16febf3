"""From images to a bundle: train a float student, quantize it and choose its operating point.

Each part continues where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from distill.run_folder import load_config
from distill.train.runs import can_resume, resume_run, start_run
from edge.errors import AccuracyError, UsageError
from edge.util.files import refuse_existing
from edge.util.progress import silent
from quantize.bundle.make import make_bundle
from quantize.certify.operating_point import SPECIFICITY
from quantize.runs.folder import load_qat_config, qat_path
from quantize.runs.train import train_qat
from quantize.runs.training_only import refuse_training_only

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from distill.config import DistillConfig
    from edge.bundle.reader import Bundle
    from edge.util.progress import Reporter
    from quantize.runs.folder import QatConfig

Config = TypeVar("Config")


def train_bundle(
    config: DistillConfig,
    qat: QatConfig,
    out: Path,
    *,
    run: Path,
    negatives: Sequence[Path] = (),
    specificity: float = SPECIFICITY,
    name: str | None = None,
    accept: str | None = None,
    force: bool = False,
    report: Reporter = silent,
) -> Bundle:
    """Train a student, quantize it, choose its operating point and write its bundle.

    Args:
        config: Configuration of the float student.
        qat: Configuration of its quantization.
        out: Directory of the bundle.
        run: Folder of the training. If it holds a training with the same configurations, that
            training is continued.
        negatives: Folders of clean validation frames, in addition to those of `config`.
        specificity: Share of the clean validation frames that must stay unflagged.
        name: Name of the bundle.
        accept: Why a failed accuracy gate is accepted; the reason is recorded in the bundle.
        force: Replace an existing bundle.
        report: Shows the progress of each part.

    Raises:
        UsageError: `out` already holds something, `run` holds a training with a different
            configuration, or the student has a confidence.
        TrainingError: Training diverged, or a checkpoint is damaged.
        DataError: The images cannot be used.
        AccuracyError: INT8 lost more accuracy than is allowed, and nobody accepted that. The run is
            complete then, but there is no bundle.
        ParityError: An engine disagrees with the student.
    """
    refuse_existing(out, force=force)
    refuse_training_only(config.student.network)
    quantized = qat_path(run)
    described, begun = _holds(run, config, load_config), _holds(quantized, qat, load_qat_config)
    if can_resume(run):
        resume_run(run, report=report)
    else:
        start_run(config, out=run, force=described, report=report)
    resume = (quantized / "checkpoints" / "last.pt").exists()
    try:
        train_qat(run, qat, resume=resume, force=begun and not resume, report=report)
    except AccuracyError:
        if not accept:
            raise
    return make_bundle(
        run,
        out,
        name=name,
        calibrated=True,
        negatives=negatives,
        specificity=specificity,
        accept=accept,
        force=force,
    )


def _holds(folder: Path, config: Config, load: Callable[[Path], Config]) -> bool:
    """Return whether a folder holds work that was started with this configuration.

    Raises:
        UsageError: The work was started with a different configuration.
    """
    if not (folder / "resolved.yaml").exists():
        return False
    if load(folder) != config:
        raise UsageError(
            f"{folder} was made with a different configuration",
            expected="the settings in its resolved.yaml",
            hint="a different run folder for a different training, or the same settings",
        )
    return True
