"""Transports to the controller: a serial line, and ISO-TP on a CAN bus."""

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
    """An open, non-blocking connection to the controller."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when bytes arrive."""
        ...

    def read(self) -> bytes:
        """Return the bytes that arrived; call it when the descriptor is readable.

        Raises:
            OSError: The connection was lost.
        """
        ...

    def write(self, data: bytes) -> int:
        """Send as much as the system accepts now, and return the number of bytes.

        Raises:
            OSError: The connection was lost.
        """
        ...

    def pending(self) -> int:
        """Return the number of written but unsent bytes, as far as the system knows."""
        ...

    def close(self) -> None:
        """Close the connection without waiting for unsent bytes."""
        ...


class SerialTransport:
    """A serial line: 8 data bits, no parity, no flow control.

    Args:
        port: Device, such as `/dev/ttyACM0`.
        baud: Bits per second; a USB controller ignores it.

    Raises:
        OSError: The device cannot be opened.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        import serial

        self._serial: Serial = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)

    def fileno(self) -> int:
        """Return the descriptor of the device."""
        return int(self._serial.fileno())

    def read(self) -> bytes:
        """Return the bytes that arrived; a readable device without any has vanished."""
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
        """Return the number of bytes in the system's buffer."""
        return int(self._serial.out_waiting)

    def close(self) -> None:
        """Discard unsent bytes, for which the system would wait, and close the device."""
        with contextlib.suppress(
            OSError, termios.error
        ):  # a device that has vanished has nothing to discard
            self._serial.reset_output_buffer()
        self._serial.close()


class IsoTpTransport:
    """ISO 15765-2 on a CAN bus by the kernel's socket; each write of frames is one transfer.

    Args:
        interface: CAN interface, such as `can0`.
        ids: Identifiers for sending and for receiving.

    Raises:
        OSError: The interface or the kernel module is missing.
        MissingDependencyError: This Python or system does not support ISO-TP.
    """

    def __init__(self, interface: str, ids: tuple[int, int] = CAN_IDS) -> None:
        if not hasattr(socket, "CAN_ISOTP"):
            raise MissingDependencyError(
                "this Python does not support ISO-TP sockets",
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
        """Return the descriptor of the socket."""
        return self._socket.fileno()

    def read(self) -> bytes:
        """Return one received transfer."""
        try:
            return self._socket.recv(_READ)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """Start a transfer, unless one is in progress."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def pending(self) -> int:
        """Return 0: the system does not report it."""
        return 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Connector(Protocol):
    """Opens connections to one controller, also after one was lost."""

    def open(self) -> Transport:
        """Open a new connection.

        Raises:
            OSError: The controller is missing.
        """
        ...

    def close(self) -> None:
        """Release what outlives a connection."""
        ...


def drain(transport: Transport, data: bytes, seconds: float) -> bool:
    """Write all data and wait until it has been sent.

    Returns:
        True if everything was sent in time.

    Raises:
        OSError: The connection was lost.
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
