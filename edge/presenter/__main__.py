"""`python -m edge.presenter NAME`: shows the overlay of `shm:NAME` until it is closed or ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import click

from edge.errors import EdgeDifomError
from edge.presenter.display_options import DisplayOptions
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
def command(segment: str, text: str, parent: int | None) -> None:
    """Show the overlay that `edge-difom run --sink shm:NAME` publishes, or NO NEWS.

    RESEARCH USE ONLY, NOT A MEDICAL DEVICE. Escape or closing the window ends it.
    """
    options = DisplayOptions.from_text(text)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    reader = SegmentReader(segment_path(segment))
    with SdlScreen(options) as screen:
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
