"""`edge-difom review`: look at marked frames, decide what they show, and export them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from edge_difom.cli import console, options
from edge_difom.cli.signals import stop_on_signal

if TYPE_CHECKING:
    from edge.review.export import Provenance


@click.command(
    "review",
    short_help="Correct the masks of marked frames on a local page.",
    epilog=console.examples(
        "edge-difom review MARKS",
        "edge-difom review MARKS --port 8081",
        "edge-difom review MARKS --export DATA",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of 127.0.0.1. Default: a free one."
)
@click.option(
    "--export",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DATA",
    help="Write the decided frames as a data folder and end, without a page.",
)
@options.force("Replace the data folder.")
def command(folder: Path, port: int | None, out: Path | None, force: bool) -> None:
    """Review DIR, the folder of `run --marks` or `run --stills`. RESEARCH USE ONLY.

    A page on 127.0.0.1 shows the frames, the most doubtful first: accept the mask that was found,
    draw one, or decide that the frame is clean or of no use. Each decision is kept at once; a
    review can be stopped and continued. Ctrl-C ends it. --export writes images/, masks/ and clean/
    for `distill` and provenance.json.
    """
    if out is None:
        if force:
            raise UsageError("--force replaces what --export writes", expected="--export DATA")
        _serve(folder, port or 0)
        return
    if port is not None:
        raise UsageError(
            "--port and --export exclude each other", expected="a page, or a data folder"
        )
    from edge.review.export import export
    from edge.util.files import refuse_same_file

    refuse_same_file([out], [folder])
    show_export(export(folder, out, force=force), out)


def _serve(folder: Path, port: int) -> None:
    with stop_on_signal() as stop:
        from edge.review.server import Review

        follow = f"edge-difom review {console.quote(folder)} --export DATA"
        with Review(folder, port=port, hint=follow) as review:
            console.say(f"review: {review.url}")
            stop.wait()
            counts = review.counts()
    console.say(", ".join(f"{number} {kind}" for kind, number in counts.items() if number))
    if counts["polyp"] or counts["clean"]:
        console.next_command(follow)


def show_export(provenance: Provenance, out: Path) -> None:
    """Print what was exported, and how a training takes it."""
    from edge.review.export import CLEAN

    polyps = sum(frame.mask != "" for frame in provenance.frames)
    clean = len(provenance.frames) - polyps
    left = ", ".join(f"{number} {kind}" for kind, number in provenance.left_out.items())
    console.say(f"{polyps} frames with a polyp, {clean} clean")
    if left:
        console.say(f"left out: {left}")
    console.made(out)
    data = f" --data {console.quote(out)}" if polyps else ""
    negatives = f" --negatives {console.quote(out / CLEAN)}" if clean else ""
    console.next_command(f"edge-difom distill --data DIR{data}{negatives} --student edge-s")
