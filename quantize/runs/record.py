"""The records of a quantization: `calibrated.json`, its baseline, and `report.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import ParityRow  # noqa: TC001 - msgspec reads annotations
from edge.errors import TrainingError
from edge.util.files import atomic_write
from quantize.certify.accuracy import AccuracyRow, Gate  # noqa: TC001 - msgspec reads annotations
from quantize.certify.sensitivity import LayerRow  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from pathlib import Path


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """`calibrated.json`: the baseline, written before fine-tuning begins.

    Attributes:
        accuracy: Of the calibrated student.
        images: Training images that it was calibrated on.
        heads: Where the teachers' heads came from, `run` or `fresh`; None without distillation.
    """

    accuracy: AccuracyRow
    images: int
    heads: str | None = None


class WeightBits(msgspec.Struct, frozen=True, kw_only=True):
    """Of which layers the weights have fewer bits than every CPU multiplies exactly; activations have 8.

    Attributes:
        low: Bits that were asked for.
        layers: Names of the layers whose weights have fewer than the 7 of
            `quantize.qat.low_bits.PAIR_BITS`.
        of: Layers in all.
    """

    low: int
    layers: list[str]
    of: int

    @property
    def emulation(self) -> str:
        """What is emulated, in words; empty where nothing is."""
        if not self.layers:
            return ""
        return (
            f"the weights of {len(self.layers)} of {self.of} layers lie on a grid of {self.low} bits "
            f"({2**self.low - 1} levels), kept in int8 tensors: engines run their 8-bit kernels on them, no faster and "
            "with no smaller file than at 8 bits"
        )


class EngineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One engine.

    Attributes:
        runtime: Its name.
        precision: `int8` or `f32`.
        bytes: Of its files.
        executes: What kind of kernels, in words.
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
        student: Its name.
        epochs: That were asked for.
        best_epoch: Whose weights were exported; 0 is calibration alone.
        dice_val: `f32` and `quantized` -> Dice at the input size, by which the epoch was chosen.
        calibration_images: That the first ranges came from.
        distillation: What stayed on beside the task loss, in words; empty without it.
        weights: Bits of the weights.
        emulation: What is emulated, in words; empty where nothing is.
        accuracy: `f32`, `ptq` (calibration alone, the baseline), `qat` and every INT8 engine on the
            validation frames.
        small_recall: What that column says.
        gate: What was asked for, and what does not hold.
        engines: What was exported.
        sqnr: What `layers` measures.
        layers: The layers that lose most, the worst first.
        parity: Every step of the way from the student to the engines.
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


def write_record(path: Path, record: object) -> None:
    """Write a record as indented JSON."""
    atomic_write(path, msgspec.json.format(msgspec.json.encode(record), indent=2))


def read_report(path: Path) -> QatReport:
    """The report of a quantization's folder."""
    return msgspec.json.decode((path / "report.json").read_bytes(), type=QatReport)


def read_start(path: Path) -> Start:
    """The baseline of a quantization's folder.

    Raises:
        TrainingError: It is missing or damaged.
    """
    try:
        return msgspec.json.decode((path / "calibrated.json").read_bytes(), type=Start)
    except (OSError, msgspec.DecodeError) as error:
        raise TrainingError(
            f"{path / 'calibrated.json'} cannot be read",
            expected="the accuracy before fine-tuning, as `edge-difom qat` wrote it",
            got=str(error).splitlines()[0],
            hint=f"edge-difom qat {path.parent} --force starts anew",
        ) from None
