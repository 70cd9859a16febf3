"""Signals that end a run with whole outputs, or ask it for a still."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the service manager, and a terminal or connection that was closed."""


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that a signal of `STOPPING` sets; a second such signal has its previous effect.

    A signal that the caller ignores stays ignored, so that `nohup` keeps its meaning.
    """
    stop = threading.Event()
    found = {number: signal.getsignal(number) for number in STOPPING}
    before = {
        number: handler
        for number, handler in found.items()
        if handler is not signal.SIG_IGN or number is not signal.SIGHUP
    }

    def handle(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def still_on_signal(stills: Path | None) -> Iterator[threading.Event]:
    """An event that SIGUSR1 sets; without a folder for stills the signal is left alone."""
    still = threading.Event()
    if stills is None:
        yield still
        return
    before = signal.signal(signal.SIGUSR1, lambda *_: still.set())
    try:
        yield still
    finally:
        signal.signal(signal.SIGUSR1, before)
