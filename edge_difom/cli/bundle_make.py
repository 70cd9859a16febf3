"""`edge-difom bundle make`, `train` and `weights`: bundles from runs, and weights from bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_difom.cli import console, options
from edge_difom.runtime_env import keep_freed_memory

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle


_ACCEPT = click.option(
    "--accept",
    metavar="REASON",
    help="Accept a failed accuracy gate; the reason is recorded in the bundle.",
)


@click.command(
    "make",
    short_help="Make a bundle from a quantized run.",
    epilog=console.examples(
        "edge-difom bundle make RUN --out B",
        "edge-difom bundle make RUN --out B --with onnx --with f32",
        "edge-difom bundle make RUN --out B --calibrate-threshold --negatives DIR",
        "edge-difom bundle make RUN --out B --name ward-3 --force",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@options.out("Directory to write.")
@options.bundle_name()
@click.option(
    "--with",
    "extra",
    multiple=True,
    type=click.Choice(["f32", "bf16", "onnx"]),
    help="Engine to include beside the INT8 ones of OpenVINO and TFLite; repeatable.",
)
@click.option(
    "--calibrate-threshold",
    "calibrated",
    is_flag=True,
    help="Choose the operating point (threshold, minimum region, minimum peak) on the run's "
    "validation "
    "frames instead of using the default one.",
)
@click.option(
    "--negatives",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="With --calibrate-threshold: folder of further validation frames without a polyp; "
    "repeatable.",
)
@click.option(
    "--specificity",
    type=options.FiniteRange(0, 1),
    help="With --calibrate-threshold: share of the clean validation frames to leave unflagged "
    "(0.95).",
)
@_ACCEPT
@options.threads()
@options.force()
def make(
    run: Path,
    out: Path,
    name: str | None,
    extra: tuple[str, ...],
    calibrated: bool,
    negatives: tuple[Path, ...],
    specificity: float | None,
    accept: str | None,
    threads: int | None,
    force: bool,
) -> None:
    """Bundle the engines of RUN with golden frames, accuracy, parity and provenance.

    Nothing is written if an engine disagrees with the quantized student on a golden frame, or if
    the run's accuracy gate failed and --accept gives no reason.
    """
    from edge.errors import UsageError
    from quantize.bundle.make import make_bundle
    from quantize.certify.operating_point import SPECIFICITY

    if specificity is not None and not calibrated:
        raise UsageError(
            "--specificity is for the choice of a threshold",
            expected="--calibrate-threshold with --specificity",
        )
    bundle = make_bundle(
        run,
        out,
        name=name,
        extra=extra,
        calibrated=calibrated,
        negatives=negatives,
        specificity=SPECIFICITY if specificity is None else specificity,
        accept=accept,
        threads=threads,
        force=force,
    )
    _show(bundle, out)


@click.command(
    "train",
    short_help="Train, quantize and bundle a student in one command.",
    epilog=console.examples(
        "edge-difom bundle train edge-s --data KVASIR --data CLINICDB --negatives DIR --out B",
        "edge-difom bundle train edge-s-4f --data KVASIR --data CLINICDB --qat-epochs 4 --out B",
        "edge-difom bundle train MINE.yaml --set epochs=80 --data DIR --run RUN --out B",
    ),
)
@click.argument("config", metavar="NAME|FILE", type=click.Path(path_type=Path))
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with images/ and masks/, or with train/ and validation/ that contain them; "
    "repeatable. Default: those of the configuration.",
)
@click.option(
    "--negatives",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of frames without a polyp, named as for `distill`: they train, and some validate "
    "and choose the threshold; repeatable.",
)
@click.option(
    "--specificity",
    type=options.FiniteRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of the clean validation frames that the operating point should leave unflagged.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of `edge-difom distill --help-config`; repeatable.",
)
@click.option(
    "--qat-epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Epochs of INT8 fine-tuning; 0 only calibrates.",
)
@options.max_drop()
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Folder of the training run; a stopped run is continued. Default: OUT-run.",
)
@options.out("Directory to write.")
@options.bundle_name()
@_ACCEPT
@options.force()
def train(
    config: Path,
    data: tuple[Path, ...],
    negatives: tuple[Path, ...],
    specificity: float,
    assignments: tuple[str, ...],
    qat_epochs: int,
    max_drop: float | None,
    run: Path | None,
    out: Path,
    name: str | None,
    accept: str | None,
    force: bool,
) -> None:
    """Train and quantize a student, choose its operating point, and write its bundle.

    NAME is a built-in configuration (edge-s, edge-xs, edge-m, edge-s-4f, edge-s-fused), FILE a YAML
    file. Repeat the same command to continue where it stopped.
    """
    from distill.config import parse_assignments, resolve_config
    from quantize.bundle.train import train_bundle
    from quantize.runs.folder import make_qat_config

    settings = parse_assignments(assignments) | ({"data": list(data)} if data else {})
    if negatives:
        settings["negatives"] = list(negatives)
    qat = {"epochs": qat_epochs} | ({} if max_drop is None else {"max_drop": max_drop})
    keep_freed_memory()
    bundle = train_bundle(
        resolve_config(config, settings),
        make_qat_config(qat),
        out,
        run=run or out.with_name(f"{out.name}-run"),
        specificity=specificity,
        name=name,
        accept=accept,
        force=force,
        report=console.progress,
    )
    _show(bundle, out)


@click.command(
    "weights",
    short_help="Write the float weights of a bundle's student, to train from.",
    epilog=console.examples(
        "edge-difom bundle weights B --out WEIGHTS.pt",
        "edge-difom bundle weights edge-s --out edge-s.pt",
        "edge-difom bundle weights B.difom --out WEIGHTS.pt --force",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@options.out("File to write.")
@options.force()
def weights(path: Path, out: Path, force: bool) -> None:
    """Recover the weights of BUNDLE's student from its INT8 OpenVINO engine, as a state dict.

    The weights carry the rounding of INT8, which further training removes.
    """
    from distill.run_folder import save_checkpoint
    from edge.bundle.reader import Bundle
    from edge.util.files import refuse_existing
    from quantize.bundle.weights import bundle_weights

    refuse_existing(out, force=force)
    bundle = Bundle.open(path)
    state = bundle_weights(bundle)
    save_checkpoint(out, state)
    values = sum(value.numel() for value in state.values())
    console.say(f"{bundle.manifest.provenance.student}: {values} values in {len(state)} tensors")
    console.made(out)
    student = bundle.manifest.provenance.student
    console.next_command(
        f"edge-difom distill --data DIR --student {student} --set start={console.quote(out)}"
    )


def _show(bundle: Bundle, out: Path) -> None:
    """Print the operating point and the accuracy of a new bundle."""
    if (calibration := bundle.manifest.output.calibration) is not None:
        console.table(
            [
                "threshold",
                "Dice",
                "min region",
                "min peak",
                f"polyps found of {sum(calibration.data.values())}",
                f"flagged of {sum(calibration.negatives.values())}",
            ],
            [
                [
                    f"{name}{point.threshold:.4f}",
                    point.dice,
                    *calibration.limits(point),
                    point.found,
                    point.flagged,
                ]
                for name, point in (
                    ("best Dice, ", calibration.best),
                    ("chosen, ", calibration.chosen),
                    *(("", point) for point in calibration.curve),
                )
            ],
        )
        if calibration.reached is not None:
            console.say(
                f"clean frames unflagged: {calibration.reached:.1%}, "
                f"wanted {calibration.specificity:.1%} (mean over data sets and sequences)"
            )
        if calibration.fell_short:
            console.warn("no candidate leaves the wanted share of clean frames unflagged")
    console.table(
        ["data set", "engine", "images", "Dice", "IoU"],
        [[row.dataset, row.engine, row.n, row.dice, row.iou] for row in bundle.manifest.accuracy],
    )
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {console.quote(out)}")
