"""The folder of a quantization, RUN/qat8: its configuration, its checkpoints, and how they are read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import torch

from distill.config import read_config_file
from distill.runs import LoadedRun, load_checkpoint, load_run
from edge.errors import UsageError
from quantize.canonical import Canonical, canonicalize
from quantize.export import ExportedEngine, export_engines
from quantize.nncf_qat import restore

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


class QatConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the outcome of `edge-difom qat` on a run.

    Attributes:
        bits: Of weights and activations.
        epochs: Passes over the training images; 0 leaves the calibrated student as it is.
        lr: Learning rate of Adam at the start of its cosine.
        batch_size: Images in a step.
        calibration: Training images that the quantizers' first ranges come from.
    """

    bits: int = 8
    epochs: Annotated[int, msgspec.Meta(ge=0)] = 5
    lr: Annotated[float, msgspec.Meta(gt=0.0)] = 1e-5
    batch_size: Annotated[int, msgspec.Meta(ge=1)] = 8
    calibration: Annotated[int, msgspec.Meta(ge=1)] = 64


@dataclass(frozen=True)
class QuantizedRun:
    """A quantized student and where it comes from.

    Attributes:
        path: RUN/qat8.
        source: The distillation, with the FP32 student.
        config: How it was quantized.
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


def qat_path(run: Path, bits: int = 8) -> Path:
    """Where the quantization of a run lies; `run` may be that folder itself."""
    return run if run.name == f"qat{bits}" else run / f"qat{bits}"


def load_quantized(run: Path) -> QuantizedRun:
    """The best quantized student of a run.

    Args:
        run: Folder of the distillation, or its `qat8`.

    Raises:
        UsageError: The run was not quantized yet.
        TrainingError: A checkpoint is damaged or does not fit.
    """
    path = qat_path(run)
    if not (path / "checkpoints" / "best.pt").is_file():
        raise UsageError(
            f"{run} was not quantized yet",
            expected=f"{path}/checkpoints/best.pt",
            mend=f"edge-difom qat {run} --bits 8",
        )
    source = load_run(path.parent)
    config = make_qat_config(read_config_file(path / "resolved.yaml"))
    state = load_checkpoint(path / "checkpoints" / "best.pt")
    model = restore(load_run(path.parent).student, state["quantized"], example_input(source.config.size))
    size = (source.config.size, source.config.size)
    return QuantizedRun(path, source, config, model, canonicalize(model, size), dict(state["metrics"]))


def make_qat_config(values: dict[str, Any]) -> QatConfig:
    """A checked configuration.

    Raises:
        UsageError: An unknown key or a value out of its range.
    """
    try:
        return msgspec.convert(values, QatConfig, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"configuration: {error}",
            expected=", ".join(QatConfig.__struct_fields__),
            mend="correct the option",
        ) from None


def exported_engines(run: Path, precision: str) -> list[ExportedEngine]:
    """Engines of a run.

    Args:
        run: Folder of the distillation, or its `qat8`.
        precision: `int8`, `f32` (needs no quantization) or `all`.

    Raises:
        UsageError: The run was not quantized yet, or is none.
        TrainingError: A checkpoint is damaged or does not fit.
    """
    engines: list[ExportedEngine] = []
    if precision in ("int8", "all"):
        engines += export_engines(load_quantized(run).canonical)
    if precision in ("f32", "all"):
        source = load_run(qat_path(run).parent)
        engines += export_engines(canonicalize(source.student, (source.config.size, source.config.size)))
    return engines


def example_input(size: int) -> Tensor:
    """An input to trace with."""
    return torch.zeros(1, 3, size, size)
