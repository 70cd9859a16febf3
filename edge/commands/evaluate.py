"""`edge-difom evaluate`: Dice and IoU on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge import console
from edge.errors import UsageError
from edge.lookup import resolve

if TYPE_CHECKING:
    from edge.metrics import EvaluationReport
    from edge.pairs import Pair

_RUN_EVALUATION = "distill.evaluation:evaluate_run"


@click.command(
    "evaluate",
    short_help="Dice and IoU of a bundle or a run on labelled images.",
    epilog=console.examples(
        "edge-difom evaluate --bundle B --data DIR --engine openvino --json openvino.json",
        "edge-difom evaluate --bundle B --pairs RUN/splits.json --engine tflite",
        "edge-difom evaluate --checkpoint RUN --data DIR --json fp32.json",
    ),
)
@click.option(
    "--bundle", "bundle_path", type=click.Path(path_type=Path), help="Bundle: a directory or a .difom file."
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Run of `distill`: its best checkpoint, in FP32."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with images/ and masks/.")
@click.option("--pairs", type=click.Path(path_type=Path), help="RUN/splits.json: the run's validation pairs.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    metavar="openvino|tflite|auto",
    help="Engine of the bundle.",
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "f32"]),
    default="int8",
    show_default=True,
    help="Of the engine.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of the engine; all cores by default."
)
@console.json_option()
def command(
    bundle_path: Path | None,
    checkpoint: Path | None,
    data: Path | None,
    pairs: Path | None,
    engine: str,
    precision: str,
    threads: int | None,
    json_path: str | None,
) -> None:
    """Measure accuracy per image at native mask size, polyp-free images counted apart."""
    _one_of("--bundle", bundle_path, "--checkpoint", checkpoint)
    _one_of("--data", data, "--pairs", pairs)
    if checkpoint is not None:
        if engine != "auto":
            raise UsageError(
                "a checkpoint has no engine",
                expected="--checkpoint without --engine",
                mend="--bundle B --engine E",
            )
        found = _find(data, pairs)
        report: EvaluationReport = resolve(_RUN_EVALUATION)(checkpoint, found)
        follows = f"edge-difom qat {checkpoint} --bits 8"
    else:
        assert bundle_path is not None
        report = _evaluate(bundle_path, data, pairs, engine, precision, threads)
        follows = f"edge-difom bench --bundle {bundle_path}"
    _show(report)
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    console.next_command(follows)


def _evaluate(
    path: Path, data: Path | None, pairs: Path | None, engine: str, precision: str, threads: int | None
) -> EvaluationReport:
    from edge.bundle import Bundle
    from edge.evaluate import evaluate_bundle

    bundle = Bundle.open(path)
    found = _find(data, pairs)
    with console.progress(len(found), "images") as bar:
        return evaluate_bundle(
            bundle,
            found,
            engine=engine,
            threads=threads,
            precision=precision,
            done=lambda name: bar.update(1, name),
        )


def _find(data: Path | None, pairs: Path | None) -> list[Pair]:
    from edge.evaluate import read_splits
    from edge.pairs import find_pairs

    if pairs is not None:
        return read_splits(pairs)
    assert data is not None
    return find_pairs(data)


def _one_of(first: str, a: object, second: str, b: object) -> None:
    if (a is None) == (b is None):
        raise UsageError(
            f"give {first} or {second}",
            expected="one of the two",
            got="neither" if a is None else "both",
            mend="edge-difom evaluate --help",
        )


def _show(report: EvaluationReport) -> None:
    low, high = report.dice_ci95 or (None, None)
    console.table(
        ["images with a polyp", "Dice", "95 % low", "95 % high", "IoU", "polyp-free", "flagged"],
        [[report.n, report.dice, low, high, report.iou, report.negatives.n, report.negatives.flagged]],
    )
