"""`edge-difom teacher`: fit a frozen network to the task before it teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_difom.cli import console, options
from edge_difom.cli.distill import NumberList
from edge_difom.cli.groups import LazyGroup


@click.group(
    "teacher",
    cls=LazyGroup,
    table={},
    short_help="Fit a frozen network to the task before it teaches.",
    epilog=console.examples(
        "edge-difom teacher fit efficientnet_lite2 --data DIR --out FITTED",
        "edge-difom teacher fit 'efficientnet_lite2?layers=3,4' --data DIR --out FITTED",
        "edge-difom teacher fit run:RUN --data DIR --out FITTED --seed 1",
        "edge-difom distill --data DIR --teacher fitted:FITTED",
    ),
)
def group() -> None:
    """Fit a frozen network to the task before it teaches."""


@group.command(
    "fit",
    short_help="Fit a light head on a frozen network to the training frames.",
    epilog=console.examples(
        "edge-difom teacher fit efficientnet_lite2 --data DIR --out FITTED",
        "edge-difom teacher fit 'efficientnet_lite2?layers=3,4' --data DIR1 --data DIR2 "
        "--val-sequences 3,8,13 --out FITTED --seed 1",
        "edge-difom teacher fit run:RUN --data DIR --out FITTED",
    ),
)
@click.argument("name", metavar="NAME")
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with images/ and masks/, split as `distill` splits it; repeatable.",
)
@click.option(
    "--negatives",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of frames that are known to show no polyp; repeatable.",
)
@click.option(
    "--val-sequences",
    type=NumberList(),
    help="Video sequences to validate on, for folders with a sequences.json.",
)
@click.option(
    "--val-fraction",
    type=float,
    help="Share of the groups to validate on, for folders without validation/.",
)
@click.option(
    "--size",
    type=int,
    help="Size of the students that are to learn from it, in pixels; the head reads at most one "
    "cell for 8 of them.",
)
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Random seed; heads of several seeds make an ensemble.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of `distill --help-config` about data, views, length or loss. Repeatable.",
)
@options.out()
@options.force("Replace the folder.")
def fit(name: str, assignments: tuple[str, ...], out: Path, force: bool, **options: Any) -> None:
    """Fit a head on the network NAME, as `distill --teacher` names it, and write it to OUT.

    The network stays frozen. The head is trained on the training frames alone, and the validation
    frames choose its epoch. With the same data and split, `--teacher fitted:OUT` distills the maps
    of the head, and `--set task_teachers=[fitted:OUT]` its logits; several in the list are an
    ensemble. A run whose validation frames the head was trained on is refused.
    """
    from distill.config import parse_assignments
    from distill.train.teacher_fit import fit_config, fit_teacher
    from edge_difom.runtime_env import keep_freed_memory

    keep_freed_memory()
    values = {key: value for key, value in options.items() if value not in (None, ())}
    config = fit_config(name, values | parse_assignments(assignments))
    best = fit_teacher(config, out, force=force, report=console.progress)
    console.say(
        f"validation Dice {best['dice_val']:.4f}, IoU {best['iou_val']:.4f} at "
        f"{config.data.size} pixels, epoch {best['epoch'] + 1:.0f}"
    )
    console.made(out)
    folder = console.quote(out)
    console.next_command(
        f"edge-difom distill --data DIR --teacher fitted:{folder} "
        f"--set task_teachers=[fitted:{folder}]"
    )
