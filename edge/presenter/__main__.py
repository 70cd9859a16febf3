"""`python -m edge.presenter NAME`: shows the overlay of `shm:NAME` until it is closed or ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace

import click

from edge.errors import EdgeDifomError
from edge.presenter.display_options import ALPHA, DisplayOptions
from edge.presenter.keyer import KeyerScreen
from edge.presenter.presenter import Presenter
from edge.presenter.screen import SdlScreen
from edge.shm.layout import segment_path
from edge.shm.reader import SegmentReader

_POLL_S = 0.002
_ORPHAN_MS = 5_000.0


@click.command("presenter")
@click.argument("segment", metavar="NAME")
@click.option(
    "--look",
    "text",
    default="",
    metavar="OPTIONS",
    help="Display options: fullscreen,display=N,size=WxH,picture,background=black|chroma|key.",
)
@click.option(
    "--parent",
    type=int,
    help="Process to follow: end after it has ended and the stream was silent for 5 s.",
)
@click.option(
    "--keyer",
    metavar="PIPELINE",
    help="Send the layer with its transparency to GStreamer elements instead of a display.",
)
@click.option("--rate", type=click.IntRange(1, 240), default=60, help="Frames/s of --keyer (60).")
def command(segment: str, text: str, parent: int | None, keyer: str | None, rate: int) -> None:
    """Show the overlay that `edge-difom run --sink shm:NAME` publishes, or NO NEWS.

    RESEARCH USE ONLY, NOT A MEDICAL DEVICE. Escape or closing the window ends it.
    """
    options = DisplayOptions.from_text(text)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    reader = SegmentReader(segment_path(segment))
    screen: SdlScreen | KeyerScreen
    if keyer is None:
        screen = SdlScreen(options)
    else:
        if options.background == "black" and not options.picture:
            options = replace(options, background=ALPHA)
        screen = KeyerScreen(keyer, size=options.size, rate=rate)
    with screen:
        presenter = Presenter(reader, screen, options)
        while not (ended.is_set() or screen.closed):
            presenter.step()
            if parent not in (None, os.getppid()) and presenter.silent_ms > _ORPHAN_MS:
                return
            time.sleep(_POLL_S)


def main() -> None:
    """Run, and print an error of this project as one message."""
    try:
        command(standalone_mode=True)
    except EdgeDifomError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
