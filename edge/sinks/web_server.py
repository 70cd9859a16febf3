"""Web server of the live view: few routes, this machine only, and no viewer can block anything."""

from __future__ import annotations

import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.contracts import MarkKind  # noqa: TC001 - msgspec reads annotations
from edge.util.local_server import LocalHandler, LocalServer, policy

if TYPE_CHECKING:
    from edge.contracts import MarkDesk

MAX_VIEWERS = 4
_CALL_S = 0.25
_MAX_BODY = 1000

PAGE = Path(__file__).with_name("web_page.html")


class MarkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request to mark a frame.

    Attributes:
        kind: What is wrong with it.
    """

    kind: MarkKind


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
        token: First part of the path of all routes; empty without one.
        desk: Takes the marks of viewers; None if nobody agreed to keep any.

    Raises:
        OSError: The port is in use.
    """

    def __init__(
        self, port: int, feed: Feed, token: str = "", desk: MarkDesk | None = None
    ) -> None:
        self._server = _Server(port, feed, token, desk)
        self._server.start("web server")

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return self._server.url

    def close(self) -> None:
        """End all connections."""
        self._server.close()


class _Server(LocalServer):
    def __init__(self, port: int, feed: Feed, token: str, desk: MarkDesk | None) -> None:
        self.feed, self.desk, self.page = feed, desk, PAGE.read_bytes()
        super().__init__(port, _Handler, policy(self.page), token)


class _Handler(LocalHandler):
    server: _Server

    def get(self) -> None:
        route = self.route()
        if route == "":
            self.answer(HTTPStatus.OK, self.server.page)
        elif route == "events":
            self._follow()
        else:
            self.answer(HTTPStatus.NOT_FOUND)

    def post(self) -> None:
        """Ask for a mark; whether it was kept is told by the feed."""
        desk = self.server.desk
        if desk is None:
            self.answer(HTTPStatus.NOT_IMPLEMENTED)
        elif self.route() != "mark":
            self.answer(HTTPStatus.NOT_FOUND)
        elif (content := self.body(_MAX_BODY)) is None:
            self.answer(HTTPStatus.BAD_REQUEST)
        else:
            try:
                kind = msgspec.json.decode(content, type=MarkRequest).kind
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.answer(HTTPStatus.BAD_REQUEST)
                return
            desk.ask(kind, "page")
            self.answer(HTTPStatus.ACCEPTED)

    def _follow(self) -> None:
        """Send the newest event whenever the viewer is ready for one."""
        feed = self.server.feed
        number = feed.enter()
        if number is None:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self.head(HTTPStatus.OK, "text/event-stream")
            self.end_headers()
            self.wfile.write(b"retry: 500\n\n")
            while (newest := feed.after(number, _CALL_S)) is not None:
                number, event = newest
                # An empty comment reveals that a viewer has left.
                self.wfile.write(event or b":\n\n")
        finally:
            feed.leave()
