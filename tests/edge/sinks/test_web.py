"""The web view: two local routes, the newest frame only, and a page that goes blank in time."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import msgspec
import numpy as np
import pytest

from edge.contracts import MarkKind, MarkOutcome
from edge.errors import UsageError
from edge.frame import Frame, Region, Result, Stage
from edge.limits import MAX_MASK_AGE_MS
from edge.overlay.paint import overlay
from edge.record_header import make_header
from edge.sinks.open import open_sinks
from edge.sinks.web import MAX_WIDTH, PERIOD_MS, WebSink
from edge.sinks.web_server import MAX_VIEWERS, PAGE
from edge.status import LIGHTS, Light, Reason, ReasonKind, State, Status
from edge.util.local_server import MAX_CONNECTIONS
from tests.support.chromium import Chromium
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.frame import ImageU8

pytestmark = pytest.mark.timeout(120)  # they wait for sockets and a browser

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
    answer = connection.getresponse()
    if path != "/events" or answer.status != 200:
        answer.read()
        connection.close()
    return answer


@contextmanager
def viewer(sink: WebSink) -> Iterator[http.client.HTTPResponse]:
    """Somebody who looks; the sink knows of them."""
    before = sink._feed.viewers
    answer = ask(sink, "/events")
    while sink._feed.viewers == before:
        time.sleep(0.001)
    try:
        yield answer
    finally:
        answer.close()


def event(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """The next event."""
    while not (line := answer.readline()).startswith(b"data: "):
        assert line, "the stream ended"
    view: dict[str, Any] = json.loads(line[6:])
    return view


def picture(view: dict[str, Any]) -> ImageU8:
    decoded: Any = cv2.imdecode(
        np.frombuffer(base64.b64decode(view["jpeg"]), np.uint8), cv2.IMREAD_COLOR
    )
    return np.asarray(decoded, np.uint8)


def test_a_viewer_gets_the_newest_frame_with_its_overlay_and_the_state() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink, viewer(sink) as answer:
        assert answer.getheader("Content-Type") == "text/event-stream"
        sink.notify(RUNNING)
        assert event(answer)["jpeg"] is None
        shown = frame(7, captured_ns=clock.now)
        clock.spend(10)
        sink.write(shown, result(FOUND))
        view = event(answer)
        got = picture(view)
    drawn = overlay(shown.image, result(FOUND))
    assert got.shape == drawn.shape
    assert np.abs(got.astype(int) - drawn).mean() < 6, "but for what JPEG makes of it"
    assert (view["state"], view["reason"], view["frame"]) == ("running", "", 7)
    assert (view["age_ms"], view["regions"], view["mask_area"]) == (9.0, 1, 0.065)
    assert view["stages_ms"] == {"capture": 3.0, "infer": 6.0}
    assert view["sent_ms"] == clock.now / MS


def test_of_a_frame_that_nobody_judged_the_page_gets_no_numbers() -> None:
    with WebSink() as sink, viewer(sink) as answer:
        sink.write(frame(7), result(reason=Reason(ReasonKind.LATE, "no scores")))
        view = event(answer)
    assert (view["reason"], view["regions"], view["mask_area"]) == ("late: no scores", None, None)
    assert view["jpeg"]


def test_the_page_names_bundle_digest_engine_and_source() -> None:
    header = msgspec.structs.replace(
        make_header(data="camera"), bundle="edge-s", digest="abc", engine="tflite", precision="int8"
    )
    with WebSink() as sink, viewer(sink) as answer:
        sink.describe(header)
        sink.write(frame(7), result())
        view = event(answer)
    named = [view[name] for name in ("bundle", "digest", "engine", "source")]
    assert named == ["edge-s", "abc", "tflite int8", "camera"]


def test_the_loop_hands_over_only_what_viewers_see() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink:
        sink.write(frame(0), result())
        assert sink._pending is None
        with viewer(sink) as answer:
            taken = []
            for index in range(1, 21):
                before = sink._picture_ns
                sink.write(frame(index), result())
                if sink._picture_ns != before:
                    taken.append(event(answer)["frame"])
                clock.spend(PERIOD_MS / 4)
    assert taken == [1, 5, 9, 13, 17]


def test_wide_frames_are_scaled_for_the_page() -> None:
    with WebSink() as sink, viewer(sink) as answer:
        sink.write(frame(0, size=(1080, 1920)), result(FOUND))
        assert picture(event(answer)).shape == (720, MAX_WIDTH, 3)


def test_without_frames_the_state_is_told_and_no_picture() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink, viewer(sink) as answer:
        sink.write(frame(0, captured_ns=clock.now), result(FOUND))
        assert event(answer)["jpeg"] is not None
        clock.spend(50)
        sink.notify(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "/dev/video0 is gone"), 5))
        view = event(answer)
        assert (view["state"], view["reason"]) == ("no-signal", "unplugged: /dev/video0 is gone")
        assert (view["jpeg"], view["frame"], view["age_ms"]) == (None, None, None)
        clock.spend(PERIOD_MS)
        sink.notify(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "/dev/video0 is gone"), 5))
        assert event(answer)["sent_ms"] == clock.now / MS, (
            "it is told again, so that silence means silence"
        )


@pytest.mark.parametrize("live", [True, False])
def test_a_camera_without_frames_shows_no_old_picture(live: bool) -> None:
    clock = FakeClock()
    with WebSink(live=live, clock=clock) as sink, viewer(sink) as answer:
        sink.write(frame(0, captured_ns=clock.now), result(FOUND))
        event(answer)
        clock.spend(120)
        sink.notify(RUNNING)
        sink_gives = event(answer) if live else None
        sink.write(frame(1, captured_ns=clock.now), result(FOUND))
        assert event(answer)["frame"] == 1
    if sink_gives is not None:
        assert sink_gives["jpeg"] is None


def test_a_new_viewer_gets_nothing_old() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink:
        with viewer(sink) as answer:
            sink.write(frame(0), result(FOUND))
            assert event(answer)["frame"] == 0
        with viewer(sink) as answer:
            clock.spend(60_000)
            sink.write(frame(1), result(FOUND))
            assert event(answer)["frame"] == 1


def test_what_is_sent_stays_out_of_caches_and_the_page_asks_nobody_else() -> None:
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
        answer = ask(sink, method=method)
        assert answer.status == 501
        assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))
        assert answer.getheader("Content-Type") == "text/plain"


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


class Desk:
    """Takes marks."""

    last = MarkOutcome(0, "")

    def __init__(self) -> None:
        self.asked: list[tuple[MarkKind | None, str]] = []

    def ask(self, kind: MarkKind | None, by: str) -> None:
        self.asked.append((kind, by))


def post(
    sink: WebSink, body: bytes, path: str = "/mark", kind: str = "application/json", **headers: str
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    route = urlsplit(sink.url).path + path.removeprefix("/")
    connection.request("POST", route, body, {"Content-Type": kind, **named})
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
    with WebSink() as sink, viewer(sink) as answer:
        assert post(sink, MISSED) == 501
        sink.write(frame(7), result())
        view = event(answer)
    assert (view["marks"], view["marked"]) == (False, "")


@pytest.mark.parametrize(
    "target", ["0.0.0.0", "0.0.0.0:8080", "::1", "localhost:80", "0", "-1", "65536", "\uff18\uff10"]
)
def test_no_other_address_can_be_asked_for(target: str) -> None:
    with pytest.raises(UsageError, match="a port of 127"):
        open_sinks([f"web:{target}"])


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with WebSink() as sink:
        taken = WebSink(port_of(sink))
        with pytest.raises(UsageError, match="cannot be used"):
            taken.__enter__()


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
        with viewer(sink) as answer:
            assert answer.status == 200
        for path in ("/", "/events", f"/{token}", f"/{token[:-1]}/", f"/{token}x/events", "//"):
            connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 404, path
            assert token.encode() not in answer.read()
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
        held = [viewer(sink) for _ in range(MAX_VIEWERS)]
        for one in held:
            one.__enter__()
        assert ask(sink, "/events").status == 503
        assert ask(sink).status == 200
        held[0].__exit__(None, None, None)
        while sink._feed.viewers == MAX_VIEWERS:  # it is noticed with the next word to them
            time.sleep(0.001)
        with viewer(sink) as answer:
            sink.write(frame(3), result())
            assert event(answer)["frame"] == 3
        for one in held[1:]:
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
        viewer(sink) as answer,
    ):  # the first one never reads
        for index in range(40):
            clock.spend(PERIOD_MS)
            sink.write(Frame(index, noise, clock.now), result())
            assert event(answer)["frame"] == index
        begin = threading.active_count()
        assert begin < 20
    assert sink._thread is None


def test_the_page_has_the_lights_and_the_limit_of_the_device() -> None:
    page = PAGE.read_text()
    for light in Light:
        assert f"--{light}: #{bytes(light.rgb).hex()};" in page
    for state in State:
        assert f"[data-state={state}] {{ --state: var(--{LIGHTS[state]}); }}" in page
    assert f"LIMIT_MS = {MAX_MASK_AGE_MS:.0f};" in page
    assert f"{MAX_MASK_AGE_MS:.0f} ms, no mask" in page


STATE = "document.getElementById('state').textContent"
COLOUR = """(() => {
  const from = document.getElementById('picture'), to = document.createElement('canvas');
  to.width = from.naturalWidth; to.height = from.naturalHeight;
  const on = to.getContext('2d'); on.drawImage(from, 0, 0);
  return [...on.getImageData(200, 120, 1, 1).data];
})()"""


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    page = Chromium(tmp_path)
    ended = threading.Event()
    status = [RUNNING]

    def run() -> None:
        for index in range(1 << 30):
            if ended.wait(0.02):
                return
            sink.notify(status[0])
            if status[0] is not GONE:
                seen = result(FOUND) if status[0] is RUNNING else result(reason=LATE)
                sink.write(frame(index, captured_ns=time.monotonic_ns()), seen)

    try:
        page.call("Log.enable")
        desk, sink = Desk(), WebSink()
        sink.offer_marks(desk)
        with sink:
            sink.describe(msgspec.structs.replace(make_header(data="camera"), bundle="edge-s"))
            loop = threading.Thread(target=run)
            loop.start()
            page.call("Page.navigate", url=sink.url)
            page.until(f"{STATE} === 'RUNNING' && !document.getElementById('picture').hidden")
            page.until("document.getElementById('picture').naturalWidth === 320")
            red, green, blue, _ = page.value(COLOUR)
            assert (red > blue + 40, green > 50) == (True, True), "the frame's own colour"
            assert page.value("document.getElementById('regions').textContent") == "1"
            assert page.value("document.getElementById('area').textContent") == "6.5"
            assert page.value("document.getElementById('found').innerText") == "FOUND"
            page.until("document.getElementById('ages').getAttribute('d').includes('L')")
            assert page.value("document.querySelectorAll('#stages tr').length") == 2
            assert "RESEARCH USE ONLY" in page.value("document.body.innerText")
            first = int(page.value("document.getElementById('frame').textContent"))
            page.until(f"Number(document.getElementById('frame').textContent) > {first + 5}")
            assert "edge-s" in page.value("document.getElementById('identity').innerText")
            page.until("!document.getElementById('marks').hidden")
            page.value("document.querySelector('[data-kind=missed]').click()")
            page.until("document.getElementById('marked').textContent === 'asked for: missed'")
            page.call("Input.dispatchKeyEvent", type="keyDown", key="f", text="f")
            page.until("document.getElementById('marked').textContent.endsWith('false-alarm')")
            while len(desk.asked) < 2:
                time.sleep(0.01)
            for number in (1, 2):  # the same words twice
                desk.last = MarkOutcome(number, "not kept: full")
                page.until("document.getElementById('marked').textContent === 'not kept: full'")
                page.value("document.querySelector('[data-kind=missed]').click()")
                page.until("document.getElementById('marked').textContent === 'asked for: missed'")
            while len(desk.asked) < 4:
                time.sleep(0.01)
            kinds = [kind for kind, _ in desk.asked]
            assert kinds == [MarkKind.MISSED, MarkKind.FALSE_ALARM, *[MarkKind.MISSED] * 2]
            status[0] = Status(State.DEGRADED, LATE, 4)
            page.until(f"{STATE} === 'DEGRADED'")
            assert page.value("document.getElementById('found').hidden") is True
            page.until("document.getElementById('regions').textContent === '\u2013'")
            assert page.value("document.getElementById('area').textContent") == "\u2013"
            status[0] = GONE
            page.until(f"{STATE} === 'NO SIGNAL' && document.getElementById('picture').hidden")
            assert (
                page.value("document.getElementById('reason').textContent")
                == "unplugged: <b>gone</b>"
            )
            status[0] = RUNNING
            page.until(f"{STATE} === 'RUNNING' && !document.getElementById('picture').hidden")
            ended.set()
            loop.join()
            # The server lives, and nothing comes: as when the frame loop hangs.
            page.until(f"{STATE} === 'NO NEWS' && document.getElementById('picture').hidden")
            assert page.value("document.getElementById('picture').hasAttribute('src')") is False
        assert page.value(STATE) == "NO NEWS"
        assert page.value(
            "performance.getEntriesByType('resource').every(r => r.name.startsWith(origin) || "
            "r.name.startsWith('data:'))"
        )
    finally:
        ended.set()
        page.close()
