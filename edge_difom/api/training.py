"""Public functions that train, quantize and bundle; they need the extra `train`.

Each imports torch when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.util.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistillConfig
    from distill.run_folder import LoadedRun
    from edge.bundle.reader import Bundle
    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport
    from edge.util.progress import Reporter
    from quantize.runs.folder import QatConfig, QuantizedRun


def start_run(
    config: DistillConfig,
    *,
    out: Path | str | None = None,
    force: bool = False,
    report: Reporter = silent,
) -> Path:
    """Distill frozen teachers into a small student.

    Args:
        config: Everything that decides the outcome.
        out: Folder of the run; None creates one under `EDGE_DIFOM_RUNS` or ./runs.
        force: Train again in a folder that is not empty.
        report: Shows the progress of each stage.

    Returns:
        The run's folder, with the weights of the best epoch.

    Raises:
        UsageError: `out` is not empty, or the configuration names something unknown.
        BusyError: A different process trains in `out`.
        TrainingError: Training diverged.
        DataError: The images cannot be used.

    Example:
        >>> run = ed.start_run(ed.make_config({"data": ["DIR"], "student": "edge-s"}), out="RUN")
    """
    from distill.train import runs

    return runs.start_run(
        config, out=None if out is None else Path(out), force=force, report=report
    )


def resume_run(run: Path | str, *, report: Reporter = silent) -> Path:
    """Continue a distillation where it stopped, to the same weights bit for bit.

    Args:
        run: Folder of the run.
        report: As in `start_run`.

    Returns:
        The run's folder.

    Raises:
        UsageError: The folder is not a run directory.
        BusyError: A different process trains there.
        TrainingError: Training diverged, or the checkpoint cannot be read.
        DataError: The images cannot be used, or are not those that the run was trained on.

    Example:
        >>> ed.resume_run("RUN")
    """
    from distill.train import runs

    return runs.resume_run(Path(run), report=report)


def load_run(run: Path | str) -> LoadedRun:
    """Load a run's student with its best weights.

    Args:
        run: Folder of a distillation.

    Returns:
        The FP32 student in evaluation mode, its configuration and its validation figures. The
        student maps (N, 3, H, W) float32 to logits.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: The checkpoint is missing or damaged.

    Example:
        >>> ed.load_run("RUN").metrics["dice_val"]
    """
    from distill import run_folder

    return run_folder.load_run(Path(run))


def evaluate_run(
    run: Path | str, pairs: Sequence[Pair], *, protocol_a: bool = False
) -> EvaluationReport:
    """Measure the accuracy of a run's FP32 student on labeled images.

    Args:
        run: Folder of a distillation.
        pairs: Images and masks, from `find_pairs`.
        protocol_a: Also measure by PraNet's protocol, from the logits.

    Returns:
        As `evaluate`, at threshold 0.5.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: The checkpoint is missing or damaged.
        DataError: There are no pairs, or one cannot be used.

    Example:
        >>> ed.evaluate_run("RUN", ed.find_pairs(Path("DIR"))).dice
    """
    from distill.train import evaluation

    return evaluation.evaluate_run(Path(run), pairs, protocol_a=protocol_a)


def quantize(
    run: Path | str,
    config: QatConfig | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    report: Reporter = silent,
) -> QuantizedRun:
    """Quantize a run's student to INT8, fine-tune it, and export and compare its engines.

    Args:
        run: Folder of a distillation.
        config: Everything that decides the outcome; None for the defaults.
        resume: Continue a quantization that was stopped.
        force: Quantize again.
        report: Shows the progress of each stage.

    Returns:
        The quantized student, from RUN/qat8 (RUN/qat4 for 4-bit weights).

    Raises:
        UsageError: Not a run directory, quantized already, or unsupported settings.
        TrainingError: Weights or loss are not finite, or a checkpoint is damaged.
        DataError: The run's images cannot be used, or are too few.
        AccuracyError: INT8 lost more accuracy than the configuration allows; all files are written.

    Example:
        >>> ed.quantize("RUN", ed.QatConfig(epochs=0)).metrics
    """
    from quantize.runs import train

    return train.train_qat(Path(run), config, resume=resume, force=force, report=report)


def export_engines(
    run: Path | str, out: Path | str, *, precision: str = "all", force: bool = False
) -> list[Path]:
    """Write the engines of a run, for other programs.

    An engine takes a uint8 RGB frame and returns uint8 scores in units of 1/256.

    Args:
        run: Folder of a distillation, or its `qat8` or `qat4`.
        out: Folder to write.
        precision: `int8`, `f32` (needs no quantization) or `all`.
        force: Replace an existing folder.

    Returns:
        The files of every engine.

    Raises:
        UsageError: Not a run directory, not quantized yet, unknown precision, or `out` exists.
        TrainingError: A checkpoint is damaged.

    Example:
        >>> ed.export_engines("RUN", "engines", precision="int8")
    """
    from edge.errors import UsageError
    from edge.util.files import atomic_dir, refuse_existing
    from quantize.runs.folder import exported_engines

    out = Path(out)
    if precision not in ("int8", "f32", "all"):
        raise UsageError("unknown precision", expected="int8, f32 or all", got=precision)
    refuse_existing(out, force=force)
    engines = exported_engines(Path(run), precision)
    with atomic_dir(out, force=force) as folder:
        for engine in engines:
            engine.write(folder)
    return sorted(path for path in out.rglob("*") if path.is_file())


def make_bundle(
    run: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    extra: Sequence[str] = (),
    calibrated: bool = False,
    negatives: Sequence[Path] = (),
    accept: str | None = None,
    threads: int | None = None,
    force: bool = False,
) -> Bundle:
    """Write the bundle of a quantized run: engines, golden frames, accuracy and provenance.

    Args:
        run: Folder of the distillation, or its `qat8`.
        out: Directory to write.
        name: Name of the bundle; None joins student, size and run.
        extra: Engines beside the INT8 ones of OpenVINO and TFLite: `f32`, `bf16`, `f16`, `onnx`.
        calibrated: Choose the operating point on the run's validation frames.
        negatives: Folders of validation frames without a polyp, for that choice.
        accept: Why a failed accuracy gate is accepted; the reason is recorded in the bundle.
        threads: CPU threads of the engines while they are checked; None uses every core.
        force: Replace an existing directory.

    Returns:
        The bundle, open.

    Raises:
        UsageError: `out` exists, the run is not quantized, or `extra` names an unknown engine.
        AccuracyError: The run's accuracy gate failed and `accept` gives no reason.
        ParityError: An engine disagrees with the quantized student; nothing is written.
        DataError: The validation images cannot be used.

    Example:
        >>> bundle = ed.make_bundle("RUN", "B", calibrated=True)
    """
    from quantize.bundle import make

    return make.make_bundle(
        Path(run),
        Path(out),
        name=name,
        extra=extra,
        calibrated=calibrated,
        negatives=negatives,
        accept=accept,
        threads=threads,
        force=force,
    )


def train_bundle(
    config: DistillConfig,
    out: Path | str,
    *,
    run: Path | str,
    qat: QatConfig | None = None,
    negatives: Sequence[Path] = (),
    name: str | None = None,
    force: bool = False,
    report: Reporter = silent,
) -> Bundle:
    """Train a student, quantize it, choose its operating point and write its bundle.

    Args:
        config: Configuration of the float student.
        out: Directory of the bundle.
        run: Folder of the training; one with the same configuration is continued.
        qat: Configuration of the quantization; None for the defaults.
        negatives: Folders of validation frames without a polyp, for the operating point.
        name: Name of the bundle; None joins student, size and run.
        force: Replace an existing bundle.
        report: Shows the progress of each stage.

    Returns:
        The bundle, open.

    Raises:
        UsageError: `out` exists, or `run` holds a training with another configuration.
        TrainingError: Training diverged, or a checkpoint is damaged.
        DataError: The images cannot be used.
        AccuracyError: INT8 lost more accuracy than `qat` allows.
        ParityError: An engine disagrees with the quantized student.

    Example:
        >>> ed.train_bundle(ed.make_config({"data": ["DIR"]}), "B", run="B-run")
    """
    from quantize.bundle import train
    from quantize.runs.folder import QatConfig

    return train.train_bundle(
        config,
        qat or QatConfig(),
        Path(out),
        run=Path(run),
        negatives=negatives,
        name=name,
        force=force,
        report=report,
    )
