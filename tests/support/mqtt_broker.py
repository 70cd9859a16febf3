"""The least of an MQTT 3.1.1 broker that a publisher needs: it takes a connection and messages."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CONNECT, PUBLISH, PING, DISCONNECT = 1, 3, 12, 14


class Broker:
    """Listens on a free port of 127.0.0.1 while the context is entered.

    Attributes:
        messages: Topic, payload and whether it is retained, of each message.
        connects: Bodies of the requests to connect.
    """

    def __init__(self, port: int = 0) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.connects: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.append(connection)
                threading.Thread(target=self._follow, args=(connection,), daemon=True).start()

    def _follow(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError), connection.makefile("rb") as stream:
            while True:
                head = _exactly(stream.read(1), 1)[0]
                length = shift = 0
                while True:
                    byte = _exactly(stream.read(1), 1)[0]
                    length |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                body = _exactly(stream.read(length), length)
                self._answer(connection, head, body)

    def _answer(self, connection: socket.socket, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == CONNECT:
            self.connects.append(body)
            connection.sendall(b"\x20\x02\x00\x00")
        elif kind == PUBLISH:
            size = int.from_bytes(body[:2], "big")
            topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
            connection.sendall(b"\x40\x02" + rest[:2])
            self.messages.append((topic, rest[2:], bool(head & 1)))
        elif kind == PING:
            connection.sendall(b"\xd0\x00")


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) < length:
        raise EOFError
    return data
