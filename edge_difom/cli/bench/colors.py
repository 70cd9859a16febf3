"""`edge-difom bench colors`: check a camera's colors against a test card."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import DataError, UsageError
from edge_difom.cli import console


@click.command(
    "colors",
    short_help="Check a camera's colors against a test card.",
    epilog=console.examples(
        "edge-difom bench colors --card card.png",
        "edge-difom bench colors --source v4l2:/dev/video0",
        "edge-difom bench colors --source v4l2:/dev/video0 --json colors.json",
    ),
)
@click.option("--source", metavar="S", help="Camera that sees the card, as in `edge-difom run`.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the card as a PNG, to be shown in place of the endoscope's picture.",
)
@console.json_option()
def command(source: str | None, card: Path | None, json_path: str | None) -> None:
    """Compare eight color bars with what the camera makes of them, and name a known fault.

    The card must fill the camera's picture. A fault ends with exit code 3: studio range taken for
    full range or the reverse, a wrong matrix, or swapped channels.
    """
    import cv2

    from edge.bench.measure.colors import TOLERANCE, draw_card, measure_colors
    from edge.sources.open import open_source
    from edge.util.files import atomic_write

    if (source is None) == (card is None):
        raise UsageError("one of two is needed", expected="--source S, or --card FILE")
    if card is not None:
        atomic_write(card, bytes(cv2.imencode(".png", draw_card())[1].tobytes()))
        console.made(card)
        console.next_command("edge-difom bench colors --source v4l2:/dev/video0")
        return
    report = measure_colors(open_source(source or ""))
    console.say(f"{report.source}, mean of {report.frames} frames")
    console.table(["bar", "R", "G", "B"], [[name, *rgb] for name, rgb in report.bars.items()])
    if json_path:
        console.write_json(json_path, report)
    if not report.ok:
        raise DataError(
            f"the colors are wrong: {report.fault}",
            expected=f"every channel within {TOLERANCE:g} levels of the card",
            got=f"up to {report.error:g} levels",
            hint="set range and matrix at the processor or the capture card",
        )
    console.say(f"the colors are right: up to {report.error:g} levels from the card")
    console.next_command("edge-difom run --camera --view")
