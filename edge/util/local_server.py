"""Web server for pages of this machine's own user: 127.0.0.1 only, bounded, closed to other sites.

Pages of other sites can neither read nor send: requests must name 127.0.0.1 or localhost as their
host, which prevents DNS rebinding, browsers mark requests of other sites by `Sec-Fetch-Site` (Fetch
Metadata, W3C), and a body must be JSON, which other sites may not send without being asked first
(CORS, WHATWG Fetch). Other users of this machine are kept out by a token in the address.
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
from typing import Any

from edge import __version__

MAX_CONNECTIONS = 16
HTML, JSON = "text/html; charset=utf-8", "application/json"
_STALLED_S = 2.0
_SEND_BUFFER = 1 << 18


def policy(page: bytes) -> str:
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


class LocalServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1, each request in a thread that nobody waits for.

    Args:
        port: Port of 127.0.0.1; 0 for a free one.
        handler: Answers one request.
        policy: Content security policy of every answer.
        token: First part of every path, that only whoever reads the address knows; empty without
            one.

    Raises:
        OSError: The port is in use.
    """

    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS

    def __init__(
        self, port: int, handler: type[LocalHandler], policy: str, token: str = ""
    ) -> None:
        self.policy, self.base = policy, f"/{token}/" if token else "/"
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), handler)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return f"http://127.0.0.1:{self.server_port}{self.base}"

    def start(self, name: str) -> None:
        """Answer requests in a thread from now on."""
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name=name, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End all connections and the thread."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        with self._guard:  # wakes the threads that wait for a viewer
            for connection in self._open:
                with suppress(OSError):  # the viewer has left already
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a request, or close it if there are too many."""
        with self._guard:
            if len(self._open) >= MAX_CONNECTIONS:
                super().shutdown_request(request)
                return
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a request."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: viewers may leave or stall."""


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


class LocalHandler(BaseHTTPRequestHandler):
    """Answers one request of this machine's own pages; a subclass adds `get` and `post`."""

    server: LocalServer
    timeout = _STALLED_S
    server_version = f"edge-difom/{__version__}"
    sys_version = ""

    def setup(self) -> None:
        """Prepare the connection."""
        # A small buffer limits how far a slow viewer lags behind.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Request(self.connection))

    def get(self) -> None:
        """Answer a request to read."""
        self.answer(HTTPStatus.NOT_FOUND)

    def post(self) -> None:
        """Answer a request to change something; nothing can be changed by default."""
        self.answer(HTTPStatus.NOT_IMPLEMENTED)

    def do_GET(self) -> None:
        """Refuse other sites, then answer."""
        if self._allowed():
            self.get()
        else:
            self.answer(HTTPStatus.FORBIDDEN)

    def do_POST(self) -> None:
        """Refuse other sites, then answer."""
        if self._allowed():
            self.post()
        else:
            self.answer(HTTPStatus.FORBIDDEN)

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Answer as every other request is answered, without a page of the library's own."""
        self.answer(HTTPStatus(code))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _allowed(self) -> bool:
        """Whether the request names this machine and comes from no other site."""
        hosts = [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]
        hosts_given = self.headers.get_all("Host", [])
        site = self.headers.get("Sec-Fetch-Site", "none")
        return (
            len(hosts_given) == 1
            and hosts_given[0].lower() in hosts
            and site in ("none", "same-origin")
        )

    def route(self) -> str | None:
        """Return the path below the token; None without the token, compared in constant time."""
        base = self.server.base
        prefix = self.path[: len(base)].encode("latin-1", "replace")
        return self.path[len(base) :] if hmac.compare_digest(prefix, base.encode()) else None

    def body(self, limit: int) -> bytes | None:
        """Read the JSON of a request; None if it is no JSON, without a length, or too long.

        Args:
            limit: Maximum length, bytes.
        """
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != JSON or not re.fullmatch(r"[0-9]{1,9}", length):
            return None
        if int(length) > limit:
            return None
        content = self.rfile.read(int(length))
        return content if len(content) == int(length) else None

    def answer(self, status: HTTPStatus, body: bytes | None = None, kind: str = HTML) -> None:
        """Send an answer; without a body, the status as text.

        Args:
            status: The status.
            body: The content.
            kind: Media type of the content.
        """
        content = f"{status.value} {status.phrase}\n".encode() if body is None else body
        self.head(status, "text/plain" if body is None else kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def head(self, status: HTTPStatus, kind: str) -> None:
        """Send the status and the headers of every answer."""
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
