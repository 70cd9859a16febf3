"""`edge-difom qat` and `edge-difom export`: quantize a run, and write engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_difom.cli import console, options
from edge_difom.runtime_env import keep_freed_memory

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
@click.option(
    "--bits",
    type=int,
    help="Bits of the weights: 8 (default), or 4 (emulated). Activations always have 8.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="PATTERN",
    help="With --bits 4: glob over the names of the layers to quantize to 4 bits; repeatable. "
    "Default: "
    "all layers except the first and the last.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    help="Passes over the training images; 0 only calibrates.",
)
@click.option("--lr", type=float, help="Learning rate of Adam.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.")
@click.option(
    "--calibration",
    type=click.IntRange(min=4),
    help="Number of training images to calibrate the quantizer ranges on.",
)
@click.option(
    "--distill-weight",
    type=options.FiniteRange(min=0),
    help="Weight of the run's distillation loss during fine-tuning. Default: 0, the task loss "
    "only.",
)
@click.option(
    "--negatives",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of frames without a polyp, named as for `distill`; repeatable. Default: those of "
    "the run.",
)
@options.max_drop()
@click.option(
    "--max-small-drop",
    type=options.FiniteRange(0, 1),
    help="Maximum loss of recall of small polyps (0.1); checked if there are at least 5.",
)
@click.option("--resume", is_flag=True, help="Continue after the last completed epoch.")
@click.option(
    "--judge-again",
    is_flag=True,
    help="Judge the record of the quantization by --max-drop and --max-small-drop; nothing is "
    "trained or scored.",
)
@options.force("Quantize again, replacing the earlier result.")
def qat(
    run: Path, bits: int | None, resume: bool, judge_again: bool, force: bool, **settings: Any
) -> None:
    """Quantize the student of RUN, fine-tune it, and write its INT8 and f32 engines to RUN/qat8.

    With --bits 4 the folder is RUN/qat4. The report compares FP32, calibration only, fine-tuning
    and every INT8 engine on the validation frames. If INT8 certainly loses more accuracy than
    allowed (the whole 95 % interval of the loss), everything is still written and the exit code is
    6.
    """
    from edge.errors import AccuracyError, UsageError
    from edge_difom.cli.qat_show import print_report
    from quantize.runs.folder import bits_of, make_qat_config, qat_path
    from quantize.runs.train import train_qat

    values = {name: value for name, value in settings.items() if value not in (None, ())}
    if "negatives" in values:
        values["negatives"] = [str(folder.resolve()) for folder in values["negatives"]]
    if resume and (values or force):
        raise UsageError("--resume takes no other settings", hint=f"edge-difom qat {run} --resume")
    path = qat_path(run, bits)
    if judge_again:
        _judge_again(path, resume or force, values)
        return
    config = make_qat_config({"bits": bits_of(path), **values})
    keep_freed_memory()
    try:
        train_qat(run, config, resume=resume, force=force, report=console.progress)
    except AccuracyError:
        print_report(path)
        console.made(path)
        raise
    print_report(path)
    console.made(path)
    source = path if config.bits < 8 else path.parent
    console.next_command(
        f"edge-difom bundle make {console.quote(source)} "
        f"--out {console.quote(path.parent / 'bundle')}"
    )


def _judge_again(path: Path, trains: bool, values: dict[str, Any]) -> None:
    from edge.errors import UsageError
    from edge_difom.cli.qat_show import print_report
    from quantize.runs.folder import load_quantized
    from quantize.runs.report import judge_again, refuse_breach

    limits = ("max_drop", "max_small_drop")
    if trains or set(values) - set(limits):
        raise UsageError(
            "--judge-again trains nothing", expected="--max-drop and --max-small-drop alone"
        )
    report = judge_again(path, **{name: values.get(name) for name in limits})
    print_report(path)
    refuse_breach(report, load_quantized(path))
    out = console.quote(path.parent / "bundle")
    console.next_command(f"edge-difom bundle make {console.quote(path)} --out {out}")


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
@options.out()
@click.option(
    "--precision",
    type=click.Choice(["all", "int8", "f32"]),
    default="all",
    show_default=True,
    help="Which engines to write.",
)
@click.option("--student", help="For FILE: the student its weights belong to.")
@click.option("--size", type=int, help="For FILE: height and width of the input, in pixels.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="For FILE: folder of images to calibrate the INT8 engines on.",
)
@options.force()
def export(
    run: Path,
    out: Path,
    precision: str,
    student: str | None,
    size: int | None,
    calibrate: Path | None,
    force: bool,
) -> None:
    """Write engines for other programs: a uint8 RGB frame in, uint8 scores in units of 1/256 out.

    RUN is a distilled and quantized run; its f32 engines need no quantization. FILE is a student's
    state dict from elsewhere, trained on inputs `(rgb - 127) / 128`. Its INT8 engines are
    calibrated but not fine-tuned.
    """
    from edge.util.files import atomic_dir, refuse_existing

    refuse_existing(out, force=force)
    engines = _external_engines(run, student, size, precision, calibrate)
    if engines is None:
        from quantize.runs.folder import exported_engines

        engines = exported_engines(run, precision)
    with atomic_dir(out, force=force) as folder:
        for engine in engines:
            engine.write(folder)
    console.table(
        ["engine", "precision", "bytes", "float operations"],
        [
            [e.runtime, e.precision, sum(map(len, e.contents)), "; ".join(e.float_ops) or "none"]
            for e in engines
        ],
    )
    console.made(out)
    if run.is_dir():
        console.next_command(
            f"edge-difom bundle make {console.quote(run)} --out {console.quote(run / 'bundle')}"
        )


def _external_engines(
    path: Path, student: str | None, size: int | None, precision: str, calibrate: Path | None
) -> list[ExportedEngine] | None:
    """Make the engines of an external checkpoint; None if `path` is a folder."""
    from edge.errors import UsageError

    if path.is_dir():
        if student or size or calibrate:
            raise UsageError(
                "--student, --size and --calibrate are for a file of weights",
                got=f"{path}, a folder",
            )
        return None
    if student is None or size is None:
        raise UsageError(
            f"{path} is not a run directory",
            expected="a run's folder, or a file of weights with --student and --size",
            hint=f"edge-difom export {path} --student edge-s --size 256 --out DIR",
        )
    from quantize.export.external_checkpoint import foreign_engines

    return foreign_engines(path, student, size, precision, calibrate)
