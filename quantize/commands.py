"""`edge-difom qat`, `export` and `bundle make`: thin shells over `quantize.qat`, `export` and `bundling`."""

from __future__ import annotations

from pathlib import Path

import click

from edge import console


@click.command(
    "qat",
    short_help="Fine-tune a student to INT8 and export its engines.",
    epilog=console.examples(
        "edge-difom qat RUN --bits 8",
        "edge-difom qat RUN --epochs 0",
        "edge-difom qat RUN --resume",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--bits", type=int, default=8, show_default=True, help="Of weights and activations.")
@click.option(
    "--epochs", type=click.IntRange(min=0), help="Passes over the training images; 0 only calibrates."
)
@click.option("--lr", type=float, help="Learning rate of Adam.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images in a step.")
@click.option("--calibration", type=click.IntRange(min=1), help="Training images that set the first ranges.")
@click.option("--resume", is_flag=True, help="Continue after the last finished epoch.")
@click.option("--force", is_flag=True, help="Quantize again.")
def qat(
    run: Path,
    bits: int,
    epochs: int | None,
    lr: float | None,
    batch_size: int | None,
    calibration: int | None,
    resume: bool,
    force: bool,
) -> None:
    """Quantize the student of RUN, fine-tune it, and write its INT8 and f32 engines to RUN/qat8."""
    from edge.errors import UsageError
    from quantize.qat import train_qat
    from quantize.runs import make_qat_config

    given = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "calibration": calibration}
    given = {name: value for name, value in given.items() if value is not None}
    if resume and (given or force):
        raise UsageError("--resume takes no other settings", mend=f"edge-difom qat {run} --resume")
    config = make_qat_config({"bits": bits, **given})
    quantized = train_qat(run, config, resume=resume, force=force)
    _report(quantized.path)
    console.made(quantized.path)
    console.next_command(f"edge-difom bundle make {run} --out {run / 'bundle'}")


@click.command(
    "export",
    short_help="Export the engines of a quantized run.",
    epilog=console.examples(
        "edge-difom export RUN --out engines",
        "edge-difom export RUN --out engines --precision f32",
        "edge-difom export RUN --out engines --force",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--precision",
    type=click.Choice(["all", "int8", "f32"]),
    default="all",
    show_default=True,
    help="Which engines.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def export(run: Path, out: Path, precision: str, force: bool) -> None:
    """Write the engines of RUN alone, for other programs: uint8 frame in, uint8 scores in 1/256 out.

    An f32 engine needs no quantization: it is that of the distilled student.
    """
    from edge.files import atomic_dir, refuse_existing
    from quantize.runs import exported_engines

    refuse_existing(out, force=force)
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
    console.next_command(f"edge-difom bundle make {run} --out {run / 'bundle'}")


@click.command(
    "make",
    short_help="Make a bundle of a quantized run.",
    epilog=console.examples(
        "edge-difom bundle make RUN --out B",
        "edge-difom bundle make RUN --out B --with-f32",
        "edge-difom bundle make RUN --out B --name ward-3 --force",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory to write.")
@click.option("--name", help="Of the bundle; by default student, size and run.")
@click.option("--with-f32", is_flag=True, help="Put the f32 engines beside the INT8 ones.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of the engines; all cores by default."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def make(run: Path, out: Path, name: str | None, with_f32: bool, threads: int | None, force: bool) -> None:
    """Put the engines of RUN into a bundle with golden frames, accuracy, parity and provenance.

    Nothing is written when an engine disagrees with the quantized student on a golden frame.
    """
    from quantize.bundling import make_bundle

    bundle = make_bundle(run, out, name=name, with_f32=with_f32, threads=threads, force=force)
    console.table(
        ["data set", "engine", "images", "Dice", "IoU"],
        [[row.dataset, row.engine, row.n, row.dice, row.iou] for row in bundle.manifest.accuracy],
    )
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {out}")


def _report(path: Path) -> None:
    """Print what RUN/qat8/report.json says."""
    import msgspec

    report = msgspec.json.decode((path / "report.json").read_bytes())
    dice = report["dice_val"]
    console.say(
        f"validation Dice: f32 {dice['f32']:.4f}, calibrated {dice['calibrated']:.4f}, "
        f"quantized {dice['quantized']:.4f} (epoch {report['best_epoch']})"
    )
    console.table(
        ["engine", "precision", "bytes", "left in float"],
        [
            [e["runtime"], e["precision"], e["bytes"], "; ".join(e["float_ops"]) or "none"]
            for e in report["engines"]
        ],
    )
    console.say()
    console.table(
        ["from", "to", "frames", "mean difference /256", "largest", "mask IoU", "worst"],
        [
            [
                row["left"],
                row["right"],
                row["frames"],
                row["mean_difference"],
                row["max_difference"],
                row["mask_iou"],
                row["worst_iou"],
            ]
            for row in report["parity"]
        ],
    )
