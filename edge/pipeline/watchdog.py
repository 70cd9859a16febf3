"""Notify the service manager by the protocol of sd_notify(3).

The existing package for it blocks on the manager's socket and hides every error. A frame loop may
do neither, so this module implements the few necessary lines.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

_USUAL_NS = 500_000_000


class Watchdog:
    """Reports readiness, progress and status to the service manager; a context manager.

    Without a service manager nothing is sent. No call blocks: a message is lost if the manager's
    socket does not accept it.

    Args:
        environment: Environment variables; `NOTIFY_SOCKET` and `WATCHDOG_USEC` if there is a
            service manager.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        period = environment.get("WATCHDOG_USEC", "")
        # Four pings within the time that the manager allows.
        self._every_ns = int(period) * 250 if period.isdecimal() else _USUAL_NS
        self._clock = clock
        self._next_ns = 0
        self._ready = False
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._send("STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ping(self) -> None:
        """The frame loop made progress; the first time the device is ready."""
        now = self._clock()
        if now < self._next_ns:
            return
        self._next_ns = now + self._every_ns
        self._send("WATCHDOG=1" if self._ready else "READY=1\nWATCHDOG=1")
        self._ready = True

    def status(self, text: str) -> None:
        """Set the one-line status that the service manager shows."""
        self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode(), self._address)
