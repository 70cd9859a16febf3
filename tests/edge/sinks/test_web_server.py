"""The server of the web view: routes, policy, marks, tokens, and few viewers."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import numpy as np
import pytest

from edge.contracts import MarkKind
from edge.errors import UsageError
from edge.frame import Frame
from edge.sinks.open import open_sinks
from edge.sinks.web import PERIOD_MS, WebSink
from edge.sinks.web_server import MAX_VIEWERS
from edge.util.local_server import MAX_CONNECTIONS
from tests.support.clock import FakeClock
from tests.support.web_view import (
    Desk,
    ask,
    event,
    frame,
    port_of,
    result,
    viewer,
)

pytestmark = pytest.mark.timeout(120)  # they wait for sockets and a browser


def test_nothing_is_cached_and_the_page_asks_nobody_else() -> None:
    """What is sent stays out of caches and the page asks nobody else."""
    with WebSink() as sink:
        page = ask(sink)
        with viewer(sink) as stream:
            headers = [page, stream]
            assert [one.getheader("Cache-Control") for one in headers] == ["no-store"] * 2
        policy = page.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


@pytest.mark.parametrize(
    "path", ["/x", "/events/", "/?a=1", "/../web.py", "/events?a=1", "/favicon.ico"]
)
def test_there_are_no_other_routes(path: str) -> None:
    with WebSink() as sink:
        assert ask(sink, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "TRACE", "X"])
def test_an_answer_to_another_method_has_the_same_policy(method: str) -> None:
    with WebSink() as sink:
        response = ask(sink, method=method)
        assert response.status == 501
        assert "default-src 'none'" in str(response.getheader("Content-Security-Policy"))
        assert response.getheader("Content-Type") == "text/plain"


def test_requests_that_never_end_hold_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.util.local_server._STALLED_S", 0.4)
    with WebSink() as sink, ExitStack() as stack:
        port, ended = port_of(sink), threading.Event()

        def drip(connection: socket.socket) -> None:
            with suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
                while not ended.wait(0.1):
                    connection.sendall(b"a")

        for _ in range(MAX_CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            threading.Thread(target=drip, args=(connection,), daemon=True).start()
        end = time.monotonic() + 60
        try:
            while True:
                assert time.monotonic() < end, "the places are held"
                with suppress(OSError, http.client.HTTPException):
                    assert ask(sink).status == 200
                    return
                time.sleep(0.1)
        finally:
            ended.set()


@pytest.mark.row(45, "requests as another site or a rebound name would send them")
def test_only_this_machine_s_own_pages_are_answered() -> None:
    with WebSink() as sink:
        port = port_of(sink)
        assert ask(sink, Host=f"localhost:{port}").status == 200
        assert ask(sink, Sec_Fetch_Site="same-origin").status == 200
        for path in ("/", "/events"):
            for host in (
                "evil.example",
                f"evil.example:{port}",
                "127.0.0.1",
                f"127.0.0.1.evil.example:{port}",
                "",
            ):
                assert ask(sink, path, Host=host).status == 403
            for site in ("cross-site", "same-site"):
                assert ask(sink, path, Sec_Fetch_Site=site).status == 403
        for method in ("POST", "PUT", "OPTIONS", "HEAD", "DELETE"):
            assert ask(sink, method=method).status == 501
        assert sink._server is not None
        assert sink._server._server.server_address[0] == "127.0.0.1"


def post(
    sink: WebSink, body: bytes, path: str = "/mark", kind: str = "application/json", **headers: str
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    route = urlsplit(sink.url).path + path.removeprefix("/")
    connection.request("POST", route, body, {"Content-Type": kind, **fields})
    status = connection.getresponse().status
    connection.close()
    return status


MISSED = b'{"kind": "missed"}'


def test_marks_are_taken_from_this_machine_s_own_page_alone() -> None:
    desk, sink = Desk(), WebSink()
    sink.offer_marks(desk)
    with sink:
        assert post(sink, MISSED, Sec_Fetch_Site="same-origin") == 202
        assert desk.asked == [(MarkKind.MISSED, "page")]
        assert post(sink, MISSED, Sec_Fetch_Site="cross-site") == 403
        assert post(sink, MISSED, Host="evil.example") == 403
        assert post(sink, MISSED, kind="text/plain") == 400, "any site may send it, without a check"
        assert post(sink, MISSED, path="/marks") == 404
        for body in (b"", b"{}", b'{"kind": "x"}', b"\xff", b"[" * 900, b'"' + b"a" * 1000 + b'"'):
            assert post(sink, body) == 400
        assert ask(sink, "/mark").status == 404
    assert len(desk.asked) == 1


def test_without_consent_there_is_nothing_to_mark_with() -> None:
    with WebSink() as sink, viewer(sink) as stream:
        assert post(sink, MISSED) == 501
        sink.write(frame(7), result())
        view = event(stream)
    assert (view["marks"], view["marked"]) == (False, "")


@pytest.mark.parametrize(
    "target", ["0.0.0.0", "0.0.0.0:8080", "::1", "localhost:80", "0", "-1", "65536", "\uff18\uff10"]
)
def test_no_other_address_can_be_asked_for(target: str) -> None:
    with pytest.raises(UsageError, match="a port of 127"):
        open_sinks([f"web:{target}"])


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with WebSink() as sink:
        second = WebSink(port_of(sink))
        with pytest.raises(UsageError, match="cannot be used"):
            second.__enter__()


def test_without_a_port_the_usual_one_is_taken_or_a_free_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with WebSink() as sink:
        monkeypatch.setattr("edge.sinks.web.DEFAULT_PORT", port_of(sink))
    caplog.set_level("INFO")
    with WebSink(None) as first:
        assert port_of(first) == port_of(sink)
        assert first.url != sink.url, "a token of its own"
        with WebSink(None) as second:
            assert second.url != first.url
    assert "is in use" in caplog.text
    assert second.url in caplog.text


def test_only_who_knows_the_address_sees_the_pictures() -> None:
    """Every local user can open the port; the first run's token does not open the second one."""
    with WebSink() as sink, WebSink(token="") as bare:
        token = urlsplit(sink.url).path.strip("/")
        assert len(token) >= 20
        assert ask(sink).status == ask(bare).status == 200
        with viewer(sink) as stream:
            assert stream.status == 200
        for path in ("/", "/events", f"/{token}", f"/{token[:-1]}/", f"/{token}x/events", "//"):
            connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
            connection.request("GET", path)
            stream = connection.getresponse()
            assert stream.status == 404, path
            assert token.encode() not in stream.read()
            connection.close()
        assert urlsplit(bare.url).path == "/"


def test_the_token_is_an_option_of_the_sink() -> None:
    (bare, other) = open_sinks(["web?token=none", "web:8099"])
    assert isinstance(bare, WebSink)
    assert isinstance(other, WebSink)
    assert not bare._token
    assert other._token
    with pytest.raises(UsageError, match=r"new \| none"):
        open_sinks(["web?token=1234"])


def test_viewers_and_connections_are_few() -> None:
    with WebSink() as sink:
        viewers = [viewer(sink) for _ in range(MAX_VIEWERS)]
        for one in viewers:
            one.__enter__()
        assert ask(sink, "/events").status == 503
        assert ask(sink).status == 200
        viewers[0].__exit__(None, None, None)
        while sink._feed.viewers == MAX_VIEWERS:  # it is noticed with the next word to them
            time.sleep(0.001)
        with viewer(sink) as stream:
            sink.write(frame(3), result())
            assert event(stream)["frame"] == 3
        for one in viewers[1:]:
            one.__exit__(None, None, None)
        port = port_of(sink)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_CONNECTIONS + 4)]
        idle[-1].settimeout(10)
        assert idle[-1].recv(1) == b"", "one too many is closed at once"
        for connection in idle:
            connection.close()


def test_a_viewer_that_stops_reading_holds_nobody_up() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    clock = FakeClock()
    with (
        WebSink(clock=clock) as sink,
        viewer(sink),
        viewer(sink) as stream,
    ):  # the first one never reads
        for index in range(40):
            clock.spend(PERIOD_MS)
            sink.write(Frame(index, noise, clock.now), result())
            assert event(stream)["frame"] == index
        begin = threading.active_count()
        assert begin < 20
    assert sink._thread is None
