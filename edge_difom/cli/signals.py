"""Signals that end a run with whole outputs, or ask it for a still or a mark."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    before = {
        number: handler
        for number, handler in handlers.items()
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


KEEPING = {"stills": signal.SIGUSR1, "marks": signal.SIGUSR2}
"""Option of `run` with a folder -> the signal that asks for one more in it."""


@contextmanager
def event_by_signal(option: str, folder: Path | None) -> Iterator[threading.Event]:
    """An event that a signal sets; without a folder the signal is left alone.

    Args:
        option: Of `KEEPING`.
        folder: Value of the option.
    """
    requested = threading.Event()
    if folder is None:
        yield requested
        return
    before = signal.signal(KEEPING[option], lambda *_: requested.set())
    try:
        yield requested
    finally:
        signal.signal(KEEPING[option], before)


def ignore_early_signals(arguments: Sequence[str]) -> None:
    """Ignore signals that come before `run` is ready for them, which would end the process.

    Args:
        arguments: The command line.
    """
    for option, number in KEEPING.items():
        if any(argument.partition("=")[0] == f"--{option}" for argument in arguments):
            signal.signal(number, signal.SIG_IGN)
