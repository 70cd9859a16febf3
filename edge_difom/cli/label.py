"""`edge-difom label`: pseudo-label unlabeled frames with trained students."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, options


@click.command(
    "label",
    epilog=console.examples(
        "edge-difom label --run RUN --source file:CLIP.mp4 --out PSEUDO",
        "edge-difom label --run RUN1 --run RUN2 --source images:DIR --every 1 --max-doubt 0.3 "
        "--out PSEUDO",
        "edge-difom label --run RUN --source file:CLIP.mp4 --every 30 --out PSEUDO --force",
    ),
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run of a trained student; repeatable. The students' mean is used.",
)
@click.option(
    "--source", required=True, metavar="file:CLIP|images:DIR", help="Frames without masks."
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Use every n-th frame.",
)
@click.option(
    "--max-doubt",
    type=options.FiniteRange(min=0),
    default=0.4,
    show_default=True,
    help="Skip frames whose uncertainty exceeds this.",
)
@click.option(
    "--min-confidence",
    type=options.FiniteRange(min=0, max=1),
    help="Skip frames of which students trained with uncertainty=true are less sure than this.",
)
@options.out()
@options.force("Replace the folder.")
def label(
    runs: tuple[Path, ...],
    source: str,
    every: int,
    max_doubt: float,
    min_confidence: float | None,
    out: Path,
    force: bool,
) -> None:
    """Pseudo-label unlabeled frames with an ensemble of trained students (self-training).

    Pass OUT to `distill` as another --data; its frames only train and never validate. Check the
    masks first, because their mistakes are learned. Research use only, not a medical device.
    """
    from distill.self_training.labeling import count_frames, label_frames

    with console.progress(count_frames(source, every), "frames") as bar:
        labels = label_frames(
            runs,
            source,
            out,
            every=every,
            max_doubt=max_doubt,
            min_confidence=min_confidence,
            force=force,
            done=bar.update,
        )
    labeled = [frame for frame in labels.frames if frame.kept]
    clean = sum(frame.area == 0 for frame in labeled)
    console.say(
        f"{len(labeled)} of {len(labels.frames)} frames kept, {clean} of those without a polyp"
    )
    console.made(out)
    console.next_command(
        f"edge-difom distill --data DIR --data {console.quote(out)} --student edge-s --recipe none"
    )
