"""The folder of a quantization, RUN/qat8 or RUN/qat4: its configuration and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import torch

from distill.config import read_config_file
from distill.run_folder import LoadedRun, load_checkpoint, load_config, load_run
from edge.errors import TrainingError, UsageError
from quantize.export.engines import ExportedEngine, export_engines
from quantize.graph.canonical import Canonical, canonicalize
from quantize.qat.nncf import checkpoint_types, restore
from quantize.runs.training_only import refuse_training_only_run

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

BITS = (8, 4)
MIN_CALIBRATION = 4
"""Fewer images cannot give a meaningful range."""


class QatConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the outcome of `edge-difom qat` on a run.

    Attributes:
        bits: Bits of the weights, 8 or 4; activations have 8.
        layers: Globs over the names of the layers whose weights have 4 bits; empty for all but
            first and last.
        epochs: Passes over the training images; 0 keeps the calibrated student unchanged.
        lr: Initial learning rate of Adam, followed by a cosine.
        batch_size: Images per step.
        calibration: Number of training images that determine the initial ranges of the quantizers.
        distill_weight: Weight of the run's spectral distillation in addition to the task loss; 0
            for the task loss alone.
        negatives: Folders of clean frames that replace the run's; empty keeps the run's.
        max_drop: Dice that INT8 may lose against FP32.
        max_small_drop: Recall of small polyps that INT8 may lose against FP32.
    """

    bits: int = 8
    layers: list[str] = []
    epochs: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 5
    lr: Annotated[float, msgspec.Meta(gt=0.0, le=1e3)] = 1e-5
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 8
    calibration: Annotated[int, msgspec.Meta(ge=MIN_CALIBRATION)] = 64
    distill_weight: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.0
    negatives: list[str] = []
    max_drop: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.005
    max_small_drop: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1


@dataclass(frozen=True)
class QuantizedRun:
    """A quantized student and its origin.

    Attributes:
        path: RUN/qat8 or RUN/qat4.
        source: The distillation, with the FP32 student.
        config: Configuration of the quantization.
        model: The quantized student with its best weights.
        canonical: Its canonical graph.
        metrics: Validation figures and epoch of those weights; epoch 0 is calibration alone.
    """

    path: Path
    source: LoadedRun
    config: QatConfig
    model: nn.Module
    canonical: Canonical
    metrics: dict[str, float]


def qat_path(run: Path, bits: int | None = None) -> Path:
    """Return the folder of a run's quantization.

    Args:
        run: Folder of the distillation, or of one of its quantizations.
        bits: Bits of the weights; None for the quantization that `run` names, else 8.

    Raises:
        UsageError: `bits` is neither 8 nor 4.
    """
    folders = {f"qat{width}": width for width in BITS}
    if bits not in (None, *BITS):
        raise UsageError(
            f"{bits} bits are not supported",
            expected="8, or 4 for the grid of the weights (no runtime here has 4-bit kernels)",
            hint="bits=8",
        )
    if run.name in folders:
        return run if bits in (None, folders[run.name]) else run.parent / f"qat{bits}"
    return run / f"qat{bits or 8}"


def bits_of(path: Path) -> int:
    """Return the bits of the weights from the name of a quantization's folder."""
    return int(path.name.removeprefix("qat"))


def load_for_engines(run: Path) -> LoadedRun:
    """Load a run whose student computes what an engine does; errors as `load_run`."""
    loaded = load_run(run)
    loaded.student.for_engines()
    return loaded


def load_quantized(run: Path, bits: int | None = None) -> QuantizedRun:
    """Load the best quantized student of a run.

    Args:
        run: Folder of the distillation, or its `qat8` or `qat4`.
        bits: Bits of the weights; None for the quantization that `run` names, else 8.

    Raises:
        UsageError: The run has not been quantized yet.
        TrainingError: A checkpoint is damaged or does not fit.
    """
    path = qat_path(run, bits)
    best = path / "checkpoints" / "best.pt"
    if (path.parent / "resolved.yaml").is_file():
        refuse_training_only_run(load_config(path.parent), path.parent)
    if not best.is_file():
        raise UsageError(
            f"{path.parent} has not been quantized yet",
            expected=f"{best}",
            hint="quantize it first",
            code="not-quantized",
            values={"run": path.parent, "bits": bits_of(path)},
        )
    source = load_for_engines(path.parent)
    config = load_qat_config(path)
    state = load_qat_checkpoint(best, ("quantized", "metrics"))
    model = restore(
        load_for_engines(path.parent).student,
        state["quantized"],
        example_input(source.config.data.size),
    )
    size = (source.config.data.size, source.config.data.size)
    return QuantizedRun(
        path, source, config, model, canonicalize(model, size), dict(state["metrics"])
    )


def load_qat_checkpoint(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Load a checkpoint of a quantization.

    Raises:
        TrainingError: It is missing or damaged, or lacks one of `keys`.
    """
    with checkpoint_types():
        state = load_checkpoint(path)
    missing = [key for key in keys if key not in state]
    if missing:
        raise TrainingError(
            f"{path} is not a checkpoint of a quantization",
            expected=", ".join(keys),
            got=f"no {', '.join(missing)}",
            hint="quantize the run again",
            code="quantization-damaged",
            values={"run": path.parent.parent},
        )
    return state


def load_qat_config(path: Path) -> QatConfig:
    """Load the configuration of a quantization from its folder.

    Raises:
        UsageError: The file is missing or not valid.
    """
    return make_qat_config(read_config_file(path / "resolved.yaml"))


def make_qat_config(values: dict[str, Any]) -> QatConfig:
    """Make a checked configuration.

    Raises:
        UsageError: A key is unknown or a value is out of range.
    """
    try:
        return msgspec.convert(values, QatConfig, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise UsageError(
            f"configuration: {error}",
            expected=", ".join(QatConfig.__struct_fields__),
            hint="correct the option",
        ) from None


def exported_engines(run: Path, precision: str, bits: int | None = None) -> list[ExportedEngine]:
    """Export the engines of a run.

    Args:
        run: Folder of the distillation, or its `qat8` or `qat4`.
        precision: `int8`, `f32` (needs no quantization) or `all`.
        bits: Bits of the weights; None for the quantization that `run` names, else 8.

    Raises:
        UsageError: `run` is not a run directory or has not been quantized yet.
        TrainingError: A checkpoint is damaged or does not fit.
    """
    engines: list[ExportedEngine] = []
    if precision in ("int8", "all"):
        engines += export_engines(load_quantized(run, bits).canonical)
    if precision in ("f32", "all"):
        source = load_for_engines(qat_path(run, bits).parent)
        refuse_training_only_run(source.config, source.path)
        engines += export_engines(
            canonicalize(source.student, (source.config.data.size, source.config.data.size))
        )
    return engines


def example_input(size: int) -> Tensor:
    """Return an input for tracing."""
    return torch.zeros(1, 3, size, size)
