"""A web view under test: its frames, its requests and what it sends."""

from __future__ import annotations

import base64
import http.client
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge.contracts import MarkKind, MarkOutcome
from edge.frame import Frame, Region, Result, Stage
from edge.status import Reason, ReasonKind, State, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import ImageU8
    from edge.sinks.web import WebSink

MS = 1_000_000
RUNNING = Status(State.RUNNING, None, 1)
FOUND = Region((20, 30, 40, 20), ((20, 30), (59, 30), (59, 49), (20, 49)), 0.065, 0.9)


LATE = Reason(ReasonKind.LATE, "no scores")
GONE = Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "<b>gone</b>"), 5)


def frame(index: int, *, captured_ns: int = 0, size: tuple[int, int] = (240, 320)) -> Frame:
    image = np.full((*size, 3), (60, 70, 150), np.uint8)
    stamps = {
        Stage.CAPTURE: (captured_ns, captured_ns + 3 * MS),
        Stage.INFER: (captured_ns + 3 * MS, captured_ns + 9 * MS),
    }
    return Frame(index, image, captured_ns, stamps)


def result(*regions: Region, reason: Reason | None = None) -> Result:
    return Result(None, regions, sum(region.area for region in regions), reason)


def port_of(sink: WebSink) -> int:
    port = urlsplit(sink.url).port
    assert port is not None
    return port


def ask(
    sink: WebSink, path: str = "/", method: str = "GET", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
    route = urlsplit(sink.url).path + path.removeprefix("/")
    connection.request(
        method, route, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    if path != "/events" or response.status != 200:
        response.read()
        connection.close()
    return response


@contextmanager
def viewer(sink: WebSink) -> Iterator[http.client.HTTPResponse]:
    """Somebody who looks; the sink knows of them."""
    before = sink._feed.viewers
    response = ask(sink, "/events")
    while sink._feed.viewers == before:
        time.sleep(0.001)
    try:
        yield response
    finally:
        response.close()


def event(response: http.client.HTTPResponse) -> dict[str, Any]:
    """The next event."""
    while not (line := response.readline()).startswith(b"data: "):
        assert line, "the stream ended"
    view: dict[str, Any] = json.loads(line[6:])
    return view


def picture(view: dict[str, Any]) -> ImageU8:
    decoded: Any = cv2.imdecode(
        np.frombuffer(base64.b64decode(view["jpeg"]), np.uint8), cv2.IMREAD_COLOR
    )
    return np.asarray(decoded, np.uint8)


class Desk:
    """Takes marks."""

    last = MarkOutcome(0, "")

    def __init__(self) -> None:
        self.asked: list[tuple[MarkKind | None, str]] = []

    def ask(self, kind: MarkKind | None, by: str) -> None:
        self.asked.append((kind, by))
