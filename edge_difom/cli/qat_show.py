"""The report that `edge-difom qat` prints at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_difom.cli import console
from quantize.runs.record import read_report

if TYPE_CHECKING:
    from pathlib import Path


def print_report(path: Path) -> None:
    """Print the `report.json` of a quantization.

    Args:
        path: RUN/qat8 or RUN/qat4.
    """
    report = read_report(path)
    console.say(
        f"{report.student}: best epoch {report.best_epoch} of {report.epochs}, calibrated on "
        f"{report.calibration_images} images"
        + (f"; {report.distillation}" if report.distillation else "")
    )
    if report.emulation:
        console.say(f"emulated: {report.emulation}")
    console.table(
        ["step", "frames", "Dice", "95 %", "small polyps found", "recall", "flagged"],
        [
            [
                row.step,
                row.frames,
                row.dice,
                None
                if row.dice_ci95 is None
                else f"{row.dice_ci95[0]:.3f} to {row.dice_ci95[1]:.3f}",
                f"{row.small_found} of {row.small}",
                row.small_recall,
                row.flagged,
            ]
            for row in report.accuracy
        ],
    )
    for note in report.gate.notes:
        console.say(f"note: {note}")
    console.say(f"accuracy gate: {report.gate.verdict}")
    for line in (*report.gate.breaches, *report.gate.undecided):
        console.say(f"  {line}")
    console.say()
    console.table(
        ["engine", "precision", "bytes", "executes", "float operations"],
        [
            [
                row.runtime,
                row.precision,
                row.bytes,
                row.executes,
                "; ".join(row.float_ops) or "none",
            ]
            for row in report.engines
        ],
    )
    console.say()
    console.table(
        ["from", "to", "frames", "mean difference /256", "max", "mask IoU", "min"],
        [
            [
                row.left,
                row.right,
                row.frames,
                row.mean_difference,
                row.max_difference,
                row.mask_iou,
                row.worst_iou,
            ]
            for row in report.parity
        ],
    )
    if report.gate.breaches:
        console.say()
        console.say(f"SQNR: {report.sqnr}")
        console.table(
            ["layer", "kernel", "weight bits", "SQNR dB"],
            [[layer.name, layer.kind, layer.bits, layer.sqnr_db] for layer in report.layers],
        )
