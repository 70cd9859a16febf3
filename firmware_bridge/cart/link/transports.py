"""Ways to the controller: a serial line, and ISO-TP on a CAN bus."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import termios
import time
from typing import TYPE_CHECKING, Protocol

from edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from serial import Serial

BAUD = 115200
CAN_IDS = (0x700, 0x701)
_READ = 4096


class Transport(Protocol):
    """An open way to the controller; nothing of it waits."""

    def fileno(self) -> int:
        """Descriptor that becomes readable when bytes came."""
        ...

    def read(self) -> bytes:
        """Bytes that came; asked for when the descriptor is readable.

        Raises:
            OSError: The connection is gone.
        """
        ...

    def write(self, data: bytes) -> int:
        """Send what the system takes now; returns how many bytes.

        Raises:
            OSError: The connection is gone.
        """
        ...

    def pending(self) -> int:
        """Bytes that were written and have not left yet, as far as the system tells."""
        ...

    def close(self) -> None:
        """Let go of it, without waiting for what has not left."""
        ...


class SerialTransport:
    """A serial line: 8 data bits, no parity, no flow control.

    Args:
        port: Device, such as `/dev/ttyACM0`.
        baud: Bits per second; a USB controller does not mind.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        import serial

        self._serial: Serial = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)

    def fileno(self) -> int:
        """Descriptor of the device."""
        return int(self._serial.fileno())

    def read(self) -> bytes:
        """Bytes that came; readable without any is how a device that is gone looks."""
        data = os.read(self.fileno(), _READ)
        if not data:
            raise OSError(errno.EIO, "the device is gone")
        return data

    def write(self, data: bytes) -> int:
        """Send what fits into the system's buffer."""
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0

    def pending(self) -> int:
        """Bytes in the system's buffer."""
        return int(self._serial.out_waiting)

    def close(self) -> None:
        """Drop what has not left, for which the system would wait, and close."""
        with contextlib.suppress(
            OSError, termios.error
        ):  # a device that is gone has nothing to drop
            self._serial.reset_output_buffer()
        self._serial.close()


class IsoTpTransport:
    """ISO 15765-2 on a CAN bus, by the system's own socket: the same frames, one transfer for each write.

    Args:
        interface: Such as `can0`.
        ids: Identifiers that are sent with, and received.

    Raises:
        OSError: The interface or the system's module is missing.
        MissingDependencyError: This Python or system knows no ISO-TP.
    """

    def __init__(self, interface: str, ids: tuple[int, int] = CAN_IDS) -> None:
        if not hasattr(socket, "CAN_ISOTP"):
            raise MissingDependencyError(
                "this Python knows no ISO-TP sockets",
                expected="Linux 5.10 with can-isotp",
                got=sys.platform,
            )
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
        try:
            self._socket.setblocking(False)
            self._socket.bind((interface, ids[1], ids[0]))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self._socket.fileno()

    def read(self) -> bytes:
        """One transfer that came."""
        try:
            return self._socket.recv(_READ)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """Start a transfer, unless one is on its way."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def pending(self) -> int:
        """The system does not tell."""
        return 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Connector(Protocol):
    """Opens the way to one controller, again after it was lost."""

    def open(self) -> Transport:
        """A new connection.

        Raises:
            OSError: The controller is not there.
        """
        ...

    def close(self) -> None:
        """Let go of what outlives a connection."""
        ...


def drain(transport: Transport, data: bytes, seconds: float) -> bool:
    """Write all and wait until it has left.

    Returns:
        Whether it left in time.

    Raises:
        OSError: The connection is gone.
    """
    end = time.monotonic() + seconds
    while data or transport.pending():
        data = data[transport.write(data) :] if data else data
        if not data and not transport.pending():
            break
        if time.monotonic() >= end:
            return False
        time.sleep(0.002)
    return True
