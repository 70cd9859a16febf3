"""The web view: the newest frame only, and a page that goes blank in time."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edge.contracts import MarkKind, MarkOutcome
from edge.limits import MAX_MASK_AGE_MS
from edge.overlay.paint import overlay
from edge.record_header import make_header
from edge.sinks.web import MAX_WIDTH, PERIOD_MS, WebSink
from edge.sinks.web_server import PAGE
from edge.status import LIGHTS, Light, Reason, ReasonKind, State, Status
from tests.support.chromium import Chromium
from tests.support.clock import FakeClock
from tests.support.web_view import (
    FOUND,
    GONE,
    LATE,
    MS,
    RUNNING,
    Desk,
    event,
    frame,
    picture,
    result,
    viewer,
)

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.timeout(120)  # they wait for sockets and a browser


def test_a_viewer_gets_the_newest_frame_overlay_and_state() -> None:
    """A viewer gets the newest frame with its overlay and the state."""
    clock = FakeClock()
    with WebSink(clock=clock) as sink, viewer(sink) as stream:
        assert stream.getheader("Content-Type") == "text/event-stream"
        sink.notify(RUNNING)
        assert event(stream)["jpeg"] is None
        original = frame(7, captured_ns=clock.now)
        clock.spend(10)
        sink.write(original, result(FOUND))
        view = event(stream)
        pixels = picture(view)
    expected = overlay(original.image, result(FOUND))
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 6, "but for what JPEG makes of it"
    assert (view["state"], view["reason"], view["frame"]) == ("running", "", 7)
    assert (view["age_ms"], view["regions"], view["mask_area"]) == (9.0, 1, 0.065)
    assert view["stages_ms"] == {"capture": 3.0, "infer": 6.0}
    assert view["sent_ms"] == clock.now / MS


def test_boxes_without_a_mask_are_counted_apart_from_regions() -> None:
    with WebSink() as sink, viewer(sink) as answer:
        sink.notify(RUNNING)
        event(answer)
        shown = frame(7, captured_ns=time.monotonic_ns())
        sink.write(shown, replace(result(), boxes=(FOUND,)))
        view = event(answer)
        got = picture(view)
    assert (view["regions"], view["boxes"], view["mask_area"]) == (0, 1, 0)
    plain = overlay(shown.image, result())
    assert np.abs(got.astype(int) - plain).max() > 60, "the box is drawn"


def test_of_a_frame_that_nobody_judged_the_page_gets_no_numbers() -> None:
    with WebSink() as sink, viewer(sink) as stream:
        sink.write(frame(7), result(reason=Reason(ReasonKind.LATE, "no scores")))
        view = event(stream)
    assert (view["reason"], view["regions"], view["mask_area"]) == ("late: no scores", None, None)
    assert view["jpeg"]


def test_the_page_names_bundle_digest_engine_and_source() -> None:
    header = msgspec.structs.replace(
        make_header(data="camera"), bundle="edge-s", digest="abc", engine="tflite", precision="int8"
    )
    with WebSink() as sink, viewer(sink) as stream:
        sink.describe(header)
        sink.write(frame(7), result())
        view = event(stream)
    names = [view[name] for name in ("bundle", "digest", "engine", "source")]
    assert names == ["edge-s", "abc", "tflite int8", "camera"]


def test_the_loop_hands_over_only_what_viewers_see() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink:
        sink.write(frame(0), result())
        assert sink._pending is None
        with viewer(sink) as stream:
            numbers = []
            for index in range(1, 21):
                before = sink._picture_ns
                sink.write(frame(index), result())
                if sink._picture_ns != before:
                    numbers.append(event(stream)["frame"])
                clock.spend(PERIOD_MS / 4)
    assert numbers == [1, 5, 9, 13, 17]


def test_wide_frames_are_scaled_for_the_page() -> None:
    with WebSink() as sink, viewer(sink) as stream:
        sink.write(frame(0, size=(1080, 1920)), result(FOUND))
        assert picture(event(stream)).shape == (720, MAX_WIDTH, 3)


def test_without_frames_the_state_is_told_and_no_picture() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink, viewer(sink) as stream:
        sink.write(frame(0, captured_ns=clock.now), result(FOUND))
        assert event(stream)["jpeg"] is not None
        clock.spend(50)
        sink.notify(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "/dev/video0 is gone"), 5))
        view = event(stream)
        assert (view["state"], view["reason"]) == ("no-signal", "unplugged: /dev/video0 is gone")
        assert (view["jpeg"], view["frame"], view["age_ms"]) == (None, None, None)
        clock.spend(PERIOD_MS)
        sink.notify(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "/dev/video0 is gone"), 5))
        assert event(stream)["sent_ms"] == clock.now / MS, (
            "it is told again, so that silence means silence"
        )


@pytest.mark.parametrize("live", [True, False])
def test_a_camera_without_frames_shows_no_old_picture(live: bool) -> None:
    clock = FakeClock()
    with WebSink(live=live, clock=clock) as sink, viewer(sink) as stream:
        sink.write(frame(0, captured_ns=clock.now), result(FOUND))
        event(stream)
        clock.spend(120)
        sink.notify(RUNNING)
        sink_gives = event(stream) if live else None
        sink.write(frame(1, captured_ns=clock.now), result(FOUND))
        assert event(stream)["frame"] == 1
    if sink_gives is not None:
        assert sink_gives["jpeg"] is None


def test_a_new_viewer_gets_nothing_old() -> None:
    clock = FakeClock()
    with WebSink(clock=clock) as sink:
        with viewer(sink) as stream:
            sink.write(frame(0), result(FOUND))
            assert event(stream)["frame"] == 0
        with viewer(sink) as stream:
            clock.spend(60_000)
            sink.write(frame(1), result(FOUND))
            assert event(stream)["frame"] == 1


def test_the_page_has_the_lights_and_the_limit_of_the_device() -> None:
    page = PAGE.read_text()
    for light in Light:
        assert f"--{light}: #{bytes(light.rgb).hex()};" in page
    for state in State:
        assert f"[data-state={state}] {{ --state: var(--{LIGHTS[state]}); }}" in page
    assert f"LIMIT_MS = {MAX_MASK_AGE_MS:.0f};" in page
    assert f"{MAX_MASK_AGE_MS:.0f} ms, no mask" in page


STATE = "document.getElementById('state').textContent"
COLOR = """(() => {
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
    boxed = threading.Event()

    def run() -> None:
        for index in range(1 << 30):
            if ended.wait(0.02):
                return
            sink.notify(status[0])
            if status[0] is not GONE:
                judged = result(FOUND) if status[0] is RUNNING else result(reason=LATE)
                if boxed.is_set():
                    judged = replace(result(), boxes=(FOUND, FOUND))
                sink.write(frame(index, captured_ns=time.monotonic_ns()), judged)

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
            red, green, blue, _ = page.value(COLOR)
            assert (red > blue + 40, green > 50) == (True, True), "the frame's own color"
            assert page.value("document.getElementById('regions').textContent") == "1"
            assert page.value("document.getElementById('area').textContent") == "6.5"
            assert page.value("document.getElementById('found').innerText") == "FOUND"
            assert page.value("document.getElementById('boxed').offsetHeight") == 0
            boxed.set()
            page.until("document.getElementById('found').innerText === 'FOUND 2'")
            assert page.value("document.getElementById('regions').textContent") == "0"
            assert page.value("document.getElementById('boxes').textContent") == "2"
            assert page.value("document.getElementById('boxed').offsetHeight") > 0
            boxed.clear()
            page.until("document.getElementById('found').innerText === 'FOUND'")
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
