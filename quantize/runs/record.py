"""The records of a quantization: `calibrated.json`, its baseline, and `report.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import ParityRow  # noqa: TC001 - msgspec reads annotations
from edge.errors import TrainingError
from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations
from quantize.certify.accuracy import AccuracyRow  # noqa: TC001 - msgspec reads annotations
from quantize.certify.gate import Gate  # noqa: TC001 - msgspec reads annotations
from quantize.certify.sensitivity import LayerRow  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from pathlib import Path


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """`calibrated.json`: the baseline, written before fine-tuning begins.

    Attributes:
        accuracy: Accuracy of the calibrated student.
        images: Number of training images used for calibration.
        heads: Origin of the teachers' heads, `run` or `fresh`; None without distillation.
    """

    accuracy: AccuracyRow
    images: int
    heads: str | None = None


class WeightBits(msgspec.Struct, frozen=True, kw_only=True):
    """Layers whose weights have fewer bits than every CPU multiplies exactly; activations have 8.

    Attributes:
        low: Requested bits.
        layers: Names of the layers whose weights have fewer than the 7 of
            `quantize.qat.low_bits.PAIR_BITS`.
        of: Total number of layers.
    """

    low: int
    layers: list[str]
    of: int

    @property
    def emulation(self) -> str:
        """Describe what is emulated; empty if nothing is."""
        if not self.layers:
            return ""
        return (
            f"the weights of {len(self.layers)} of {self.of} layers lie on a grid of {self.low} "
            f"bits ({2**self.low - 1} levels), kept in int8 tensors: engines run their 8-bit "
            "kernels on them, no faster and with no smaller file than at 8 bits"
        )


class EngineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One engine.

    Attributes:
        runtime: Name of the runtime.
        precision: `int8` or `f32`.
        bytes: Size of its files.
        executes: Kind of kernels, in words.
        float_ops: Operations that stay in float, each with the reason.
    """

    runtime: str
    precision: str
    bytes: int
    executes: str
    float_ops: list[str]


class QatReport(msgspec.Struct, frozen=True, kw_only=True):
    """`report.json`.

    Attributes:
        student: Name of the student.
        epochs: Requested number of epochs.
        best_epoch: Epoch whose weights were exported; 0 is calibration alone.
        dice_val: `f32` and `quantized` -> Dice at the input size, by which the epoch was chosen.
        calibration_images: Number of images that determined the initial ranges.
        distillation: Terms kept on in addition to the task loss, in words; empty without any.
        weights: Bits of the weights.
        emulation: What is emulated, in words; empty if nothing is.
        accuracy: `f32`, `ptq` (calibration alone, the baseline), `qat` and every INT8 engine on the
            validation frames.
        small_recall: Definition of that column.
        gate: Allowed losses and the limits that were broken.
        engines: Exported engines.
        sqnr: Definition of the ratio in `layers`.
        layers: The layers that lose most, the worst first.
        parity: Every step of the way from the student to the engines.
        header: What the record is of; None in records of older versions.
    """

    student: str
    epochs: int
    best_epoch: int
    dice_val: dict[str, float]
    calibration_images: int
    distillation: str
    weights: WeightBits
    emulation: str
    accuracy: list[AccuracyRow]
    small_recall: str
    gate: Gate
    engines: list[EngineRow]
    sqnr: str
    layers: list[LayerRow]
    parity: list[ParityRow]
    header: RecordHeader | None = None


def read_report(path: Path) -> QatReport:
    """Read the report from a quantization's folder.

    Raises:
        TrainingError: It is missing or damaged.
    """
    try:
        return msgspec.json.decode((path / "report.json").read_bytes(), type=QatReport)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(
            f"{path / 'report.json'} cannot be read",
            expected="the report of a completed quantization",
            got=str(error).splitlines()[0],
            hint="quantize the run first",
        ) from None


def read_start(path: Path) -> Start:
    """Read the baseline from a quantization's folder.

    Raises:
        TrainingError: It is missing or damaged.
    """
    try:
        return msgspec.json.decode((path / "calibrated.json").read_bytes(), type=Start)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(
            f"{path / 'calibrated.json'} cannot be read",
            expected="the accuracy before fine-tuning, as the quantization wrote it",
            got=str(error).splitlines()[0],
            hint="quantize the run again",
            code="quantization-damaged",
            values={"run": path.parent},
        ) from None
