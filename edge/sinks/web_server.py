"""Web server of the live view: two routes, this machine only, and no viewer can block anything.

Pages of other sites cannot read it: requests must name 127.0.0.1 or localhost as their host, which
prevents DNS rebinding, and browsers mark requests of other sites by `Sec-Fetch-Site` (Fetch
Metadata, W3C). Other users of this machine cannot read it either: both routes lie below a token
that only whoever reads the address knows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edge import __version__

MAX_VIEWERS = 4
MAX_CONNECTIONS = 16
_STALLED_S = 2.0
_SEND_BUFFER = 1 << 18
_CALL_S = 0.25

PAGE = Path(__file__).with_name("web_page.html")


def _policy(page: bytes) -> str:
    """Return a content security policy that allows only the page's own script and style."""
    allowed = {}
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline)
        allowed[tag] = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; img-src data:; script-src {allowed['script']}; "
        f"style-src {allowed['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Feed:
    """Holds the newest event for the viewers that wait for it."""

    def __init__(self) -> None:
        self.viewers = 0
        self._event, self._number = b"", 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, event: bytes) -> None:
        """Replace the newest event."""
        with self._changed:
            self._event, self._number = event, self._number + 1
            self._changed.notify_all()

    def after(self, number: int, timeout: float) -> tuple[int, bytes] | None:
        """Wait for an event that is newer than a number.

        Args:
            number: Number of the last event that the viewer has.
            timeout: Seconds to wait.

        Returns:
            Number and bytes of the newest event; no bytes if there is none in time; None at the
            end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self._closed, timeout)
            if self._closed:
                return None
            return (self._number, self._event) if self._number > number else (number, b"")

    def enter(self) -> int | None:
        """Register a viewer.

        Returns:
            Number of the newest event, which is too old for a new viewer; None if there are too
            many viewers.
        """
        with self._changed:
            if self.viewers >= MAX_VIEWERS or self._closed:
                return None
            self.viewers += 1
            return self._number

    def leave(self) -> None:
        """Unregister a viewer."""
        with self._changed:
            self.viewers -= 1

    def close(self) -> None:
        """End the feed and wake all viewers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class WebServer:
    """Serves a page and its feed in its own threads.

    Args:
        port: Port of 127.0.0.1; 0 for a free one.
        feed: Events for the viewers.
        token: First part of the path of both routes; empty without one.

    Raises:
        OSError: The port is in use.
    """

    def __init__(self, port: int, feed: Feed, token: str = "") -> None:
        self._server = _Server(port, feed, PAGE.read_bytes(), f"/{token}/" if token else "/")
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="web server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return f"http://127.0.0.1:{self._server.server_port}{self._server.base}"

    def close(self) -> None:
        """End all connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS

    def __init__(self, port: int, feed: Feed, page: bytes, base: str) -> None:
        self.feed, self.page, self.policy = feed, page, _policy(page)
        self.base = base
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            if len(self._open) >= MAX_CONNECTIONS:
                super().shutdown_request(request)
                return
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: viewers may leave or stall."""

    def end_connections(self) -> None:
        """End all connections, which wakes the threads that wait for a viewer."""
        with self._guard:
            for connection in self._open:
                with suppress(OSError):  # the viewer has left already
                    connection.shutdown(socket.SHUT_RDWR)


class _Request(io.RawIOBase):
    """Bytes of a request that must be complete in time, however slowly they come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._end = connection, time.monotonic() + _STALLED_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request is too slow")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _STALLED_S
    server_version = f"edge-difom/{__version__}"
    sys_version = ""

    def setup(self) -> None:
        # A small buffer limits how far a slow viewer lags behind.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Request(self.connection))

    def do_GET(self) -> None:
        if not self._allowed():
            self._answer(HTTPStatus.FORBIDDEN)
        elif self._asks_for(""):
            self._answer(HTTPStatus.OK, self.server.page)
        elif self._asks_for("events"):
            self._follow()
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Answer as every other request is answered, without a page of the library's own."""
        self._answer(HTTPStatus(code))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _allowed(self) -> bool:
        hosts = [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]
        given = self.headers.get_all("Host", [])
        site = self.headers.get("Sec-Fetch-Site", "none")
        return len(given) == 1 and given[0].lower() in hosts and site in ("none", "same-origin")

    def _asks_for(self, name: str) -> bool:
        """Return whether the request has the token and names a route; in constant time."""
        route = f"{self.server.base}{name}"
        return hmac.compare_digest(self.path.encode("latin-1", "replace"), route.encode())

    def _answer(self, status: HTTPStatus, body: bytes | None = None) -> None:
        content = f"{status.value} {status.phrase}\n".encode() if body is None else body
        self._head(status, "text/plain" if body is None else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: HTTPStatus, kind: str) -> None:
        self.connection.settimeout(_STALLED_S)
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", self.server.policy),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)

    def _follow(self) -> None:
        """Send the newest event whenever the viewer is ready for one."""
        feed = self.server.feed
        number = feed.enter()
        if number is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._head(HTTPStatus.OK, "text/event-stream")
            self.end_headers()
            self.wfile.write(b"retry: 500\n\n")
            while (newest := feed.after(number, _CALL_S)) is not None:
                number, event = newest
                # An empty comment reveals that a viewer has left.
                self.wfile.write(event or b":\n\n")
        finally:
            feed.leave()
