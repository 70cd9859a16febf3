"""A simulated cart in a separate process, whose clock runs while the frame loop is stopped."""

from __future__ import annotations

import errno
import select
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge.util.python_child import python_command
from firmware_bridge.cart.link.transports import SerialTransport
from firmware_bridge.cart.simcart.build import library
from firmware_bridge.cart.simcart.faults import parse_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

_START_S = 20.0


class SimConnector:
    """A `firmware_bridge.cart.link.transports.Connector` of a simulated cart.

    The cart starts with the first connection.

    Args:
        faults: Faults as `SECONDS=FAULT`; see `python -m firmware_bridge.cart.simcart --help`.

    Raises:
        ValueError: A text is not a fault.
        MissingDependencyError: There is no C compiler.
    """

    def __init__(self, faults: Sequence[str] = ()) -> None:
        for fault in faults:
            parse_fault(fault)
        library()
        self._options = [option for fault in faults for option in ("--at", fault)]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> SerialTransport:
        """Open the cart's line.

        Raises:
            OSError: It is unplugged, or does not start.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="simcart-")
        link = Path(self._folder.name) / "tty"
        if self._process is None:
            # In its own session, the cart survives a Ctrl-C and hears the farewell of the runtime.
            self._process = subprocess.Popen(
                python_command(
                    "firmware_bridge.cart.simcart",
                    *("--pty", str(link), "--quiet", "--child"),
                    *self._options,
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            assert self._process.stdout is not None
            ready, _, _ = select.select([self._process.stdout], [], [], _START_S)
            if not ready or not self._process.stdout.readline():
                raise OSError(errno.ENODEV, "the simulated cart does not start")
        return SerialTransport(str(link))

    def order(self, command: str) -> None:
        """Apply a fault now, given as it is typed."""
        assert self._process is not None, "not open"
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
