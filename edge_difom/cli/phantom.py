"""`edge-difom phantom`: write the procedural phantom as a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_difom.cli import console, options

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "phantom",
    epilog=console.examples(
        "edge-difom phantom --out phantom",
        "edge-difom phantom --out phantom --train 1000 --validation 100 --seed 3",
        "edge-difom phantom --out phantom --clip-frames 500 --force",
    ),
)
@options.out()
@click.option(
    "--train",
    type=click.IntRange(min=1),
    default=192,
    show_default=True,
    help="Number of training frames.",
)
@click.option(
    "--validation",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Number of validation frames.",
)
@click.option(
    "--negatives",
    type=click.IntRange(min=0),
    default=16,
    show_default=True,
    help="Number of polyp-free frames.",
)
@click.option(
    "--clip-frames",
    type=click.IntRange(min=0),
    default=150,
    show_default=True,
    help="Number of frames of clip.mp4; 0 writes no clip.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=7,
    show_default=True,
    help="Random seed; the same seed gives the same images.",
)
@options.force("Replace the folder.")
def command(
    out: Path, train: int, validation: int, negatives: int, clip_frames: int, seed: int, force: bool
) -> None:
    """Write the procedural colonoscopy phantom: labeled images and a clip.

    The folder contains train/, validation/ and negatives/, each with images/ and masks/. Every
    image is drawn from the seed, so no patient data is involved.
    """
    from edge.datasets.phantom.render import write_clip, write_dataset
    from edge.util.files import atomic_dir

    with atomic_dir(out, force=force) as folder:
        with console.progress(train + validation + negatives, "frames") as bar:
            write_dataset(
                folder,
                train=train,
                validation=validation,
                negatives=negatives,
                seed=seed,
                progress=lambda *_: bar.update(),
            )
        if clip_frames:
            write_clip(folder / "clip.mp4", seed=seed, frames=clip_frames)
    console.made(out)
    console.next_command(
        f"edge-difom distill --data {console.quote(out)} --student edge-s "
        "--teacher efficientnet_lite2"
    )
