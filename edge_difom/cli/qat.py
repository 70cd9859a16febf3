"""`edge-difom qat` and `export`: thin shells over `quantize.runs.train` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_difom.cli import console

if TYPE_CHECKING:
    from quantize.export.engines import ExportedEngine


@click.command(
    "qat",
    short_help="Fine-tune a student to INT8 and export its engines.",
    epilog=console.examples(
        "edge-difom qat RUN --bits 8",
        "edge-difom qat RUN --distill-weight 0.2 --max-drop 0.005",
        "edge-difom qat RUN --bits 4 --layers 'encoder.blocks.5.*' --layers 'fuse16.*'",
        "edge-difom qat RUN --resume",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--bits", type=int, help="Of the weights: 8 (default), or 4, emulated. Activations have 8.")
@click.option(
    "--layers",
    multiple=True,
    metavar="PATTERN",
    help="Layers of 4 bits, a glob over module names; repeatable. Without it all but the first and the last.",
)
@click.option(
    "--epochs", type=click.IntRange(min=0), help="Passes over the training images; 0 only calibrates."
)
@click.option("--lr", type=float, help="Learning rate of Adam.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images in a step.")
@click.option("--calibration", type=click.IntRange(min=4), help="Training images that set the first ranges.")
@click.option(
    "--distill-weight",
    type=click.FloatRange(min=0),
    help="Keep the run's distillation on with this weight; 0 (default) is the task loss alone.",
)
@click.option(
    "--negatives",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of frames without a polyp, named as for `distill`; repeatable. Default: those of the run.",
)
@click.option("--max-drop", type=click.FloatRange(0, 1), help="Dice that INT8 may lose against FP32 (0.005).")
@click.option(
    "--max-small-drop",
    type=click.FloatRange(0, 1),
    help="Recall of small polyps that INT8 may lose (0.1); judged from 5 of them on.",
)
@click.option("--resume", is_flag=True, help="Continue after the last finished epoch.")
@click.option("--force", is_flag=True, help="Quantize again.")
def qat(run: Path, bits: int | None, resume: bool, force: bool, **options: Any) -> None:
    """Quantize the student of RUN, fine-tune it, and write its INT8 and f32 engines to RUN/qat8.

    With --bits 4 the folder is RUN/qat4. The report compares FP32, calibration alone, fine-tuning and every INT8
    engine on the validation frames; where INT8 lost more than is allowed, everything is written and the exit code is 6.
    """
    from edge.errors import AccuracyError, UsageError
    from edge_difom.cli.qat_show import print_report
    from quantize.runs.folder import bits_of, make_qat_config, qat_path
    from quantize.runs.train import train_qat

    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "negatives" in given:
        given["negatives"] = [str(folder.resolve()) for folder in given["negatives"]]
    if resume and (given or force):
        raise UsageError("--resume takes no other settings", hint=f"edge-difom qat {run} --resume")
    path = qat_path(run, bits)
    config = make_qat_config({"bits": bits_of(path), **given})
    try:
        train_qat(run, config, resume=resume, force=force, report=console.progress)
    except AccuracyError:
        print_report(path)
        console.made(path)
        raise
    print_report(path)
    console.made(path)
    source = path if config.bits < 8 else path.parent
    console.next_command(f"edge-difom bundle make {source} --out {path.parent / 'bundle'}")


@click.command(
    "export",
    short_help="Export the engines of a run or of a checkpoint.",
    epilog=console.examples(
        "edge-difom export RUN --out engines",
        "edge-difom export RUN --out engines --precision f32",
        "edge-difom export WEIGHTS.pt --student unet --size 256 --calibrate DIR --out engines",
    ),
)
@click.argument("run", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--precision",
    type=click.Choice(["all", "int8", "f32"]),
    default="all",
    show_default=True,
    help="Which engines.",
)
@click.option("--student", help="Of a checkpoint made elsewhere: which student its weights are.")
@click.option("--size", type=int, help="Of such a checkpoint: height and width of the input.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of such a checkpoint: pictures that set the ranges of its INT8 engines.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def export(
    run: Path,
    out: Path,
    precision: str,
    student: str | None,
    size: int | None,
    calibrate: Path | None,
    force: bool,
) -> None:
    """Write engines alone, for other programs: uint8 frame in, uint8 scores in 1/256 out.

    Of RUN, a distilled and quantized run (an f32 engine needs no quantization: it is that of the distilled student), or
    of FILE, a student's state dict that was made elsewhere, trained on inputs `(rgb - 127) / 128`. Its INT8 engines are
    calibrated and not fine-tuned.
    """
    from edge.util.files import atomic_dir, refuse_existing

    refuse_existing(out, force=force)
    engines = _of_file(run, student, size, precision, calibrate)
    if engines is None:
        from quantize.runs.folder import exported_engines

        engines = exported_engines(run, precision)
    with atomic_dir(out, force=force) as folder:
        for engine in engines:
            engine.write(folder)
    console.table(
        ["engine", "precision", "bytes", "left in float"],
        [
            [e.runtime, e.precision, sum(map(len, e.contents)), "; ".join(e.float_ops) or "none"]
            for e in engines
        ],
    )
    console.made(out)
    if run.is_dir():
        console.next_command(f"edge-difom bundle make {run} --out {run / 'bundle'}")


def _of_file(
    path: Path, student: str | None, size: int | None, precision: str, calibrate: Path | None
) -> list[ExportedEngine] | None:
    """Engines of a checkpoint made elsewhere, None where `path` is a run's folder."""
    from edge.errors import UsageError

    if path.is_dir():
        if student or size or calibrate:
            raise UsageError(
                "--student, --size and --calibrate are for a file of weights", got=f"{path}, a folder"
            )
        return None
    if student is None or size is None:
        raise UsageError(
            f"{path} is no run",
            expected="a run's folder, or a file of weights with --student and --size",
            hint=f"edge-difom export {path} --student edge-s --size 256 --out DIR",
        )
    from quantize.export.external_checkpoint import foreign_engines

    return foreign_engines(path, student, size, precision, calibrate)
