"""Live sources through GStreamer: stamps, stalls, formats and damage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import Interruption, SourceError, UsageError
from edge.sources.formats import VideoFormat
from edge.sources.gst_sources import GstCameraSource, RtspSource, TextSource
from edge.sources.jpeg import jpeg_damage
from edge.sources.latest_frame import NewestFrame
from edge.sources.open import open_source
from edge.sources.stall_detection import DamageWatch, StallWatch
from edge.status import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Frame
    from edge.sources.base import BaseSource


LIVE = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1"


def frames_of(source: BaseSource, count: int) -> list[Frame]:
    """So many frames, waiting where there is none yet."""
    frames: list[Frame] = []
    end = time.monotonic() + 20
    while len(frames) < count:
        assert time.monotonic() < end
        try:
            frame = source.read()
        except TimeoutError:
            continue
        assert frame is not None
        frames.append(frame)
    return frames


def interruption_of(source: BaseSource) -> Interruption:
    """The first interruption that reading gives."""
    end = time.monotonic() + 20
    while True:
        assert time.monotonic() < end
        try:
            source.read()
        except TimeoutError:
            continue
        except Interruption as interruption:
            return interruption


def test_a_live_pipeline_is_stamped_at_the_source_and_young() -> None:
    with open_source(f"gst:{LIVE}?reopen=0") as source:
        assert source.fps == 30
        assert "stamped at the source" in source.description
        frames = frames_of(source, 5)
    assert [frame.index for frame in frames] == list(range(5))
    assert frames[0].image.shape == (240, 320, 3)
    steps = [b.captured_ns - a.captured_ns for a, b in pairwise(frames)]
    assert all(abs(step - 1e9 / 30) < 5e6 for step in steps)
    assert all(0 <= time.monotonic_ns() - frame.captured_ns < 20e9 for frame in frames)


@pytest.mark.parametrize("layout", ["BGR", "YUY2", "UYVY", "NV12", "I420", "RGBA"])
def test_colors_come_through_every_layout(layout: str) -> None:
    text = (
        f"videotestsrc is-live=true pattern=red ! video/x-raw,format={layout},width=320,height=240"
    )
    with open_source(f"gst:{text}?reopen=0") as source:
        (frame,) = frames_of(source, 1)
    assert np.abs(frame.image.reshape(-1, 3).astype(int) - (0, 0, 255)).max() <= 6


def test_jpeg_is_decoded_here() -> None:
    with open_source("gst:videotestsrc is-live=true pattern=blue ! jpegenc?reopen=0") as source:
        (frame,) = frames_of(source, 1)
    assert "JPEG" in source.description
    # The encoder takes colors of studio range for full ones, so that they come back paler.
    assert np.abs(frame.image.reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 20


@pytest.mark.parametrize("text", ["", "nosuchelement", "videotestsrc !"])
def test_a_text_that_is_no_pipeline_is_told(text: str) -> None:
    with pytest.raises((UsageError, SourceError)), open_source(f"gst:{text}?reopen=0"):
        pass


@pytest.mark.parametrize("rest", ["nosuchelement", "fakesink", "rtspsrc user-pwd=hunter2"])
def test_a_pipeline_keeps_its_password_out_of_errors(rest: str) -> None:
    text = f'rtspsrc location="rtsp://user:hunter2/x@127.0.0.1:9/1" user-pw=hunter2 ! {rest}'
    source = open_source(f"gst:{text}?reopen=0&start_ms=500")
    assert "hunter2" not in source.description
    with pytest.raises((UsageError, SourceError)) as caught, source:
        pass
    assert "hunter2" not in str(caught.value)


def test_a_closed_pipeline_says_so() -> None:
    with open_source(f"gst:{LIVE}?reopen=0") as source:
        assert isinstance(source, TextSource)
        pipeline = source.pipeline
    assert pipeline is not None
    with pytest.raises(RuntimeError, match="closed"):
        pipeline.read()


def test_a_stream_keeps_its_password_out_of_logs_and_its_query() -> None:
    text = "rtsp://user:p@ss@host:554/live?channel=1&subtype=0"
    with pytest.raises(UsageError, match=r"closed with one more `\?`"):
        open_source(text)
    source = open_source(f"{text}?reopen=0")
    assert source.description == "stream rtsp://host:554/live?channel=1&subtype=0"
    assert isinstance(source, RtspSource)
    assert source._settings() == {"location": text}


@pytest.mark.parametrize(
    ("fps", "written"),
    [(60.0, "60/1"), (59.94, "60000/1001"), (29.97, "30000/1001"), (12.5, "25/2")],
)
def test_a_rate_is_asked_for_as_cards_name_it(fps: float, written: str) -> None:
    attempts = GstCameraSource("0", fps=fps)._attempts()
    assert all(f",framerate={written} ! " in text for text in attempts)


@pytest.mark.row(4, "a pipeline of 2 frames a second, and one of 5000 pixels")
@pytest.mark.parametrize(
    ("caps", "text"),
    [
        ("width=320,height=240,framerate=2/1", "2 fps"),
        ("width=5000,height=240,framerate=30/1", "5000x240"),
    ],
)
def test_a_format_out_of_range_is_refused_by_name(caps: str, text: str) -> None:
    with (
        pytest.raises(SourceError, match=text),
        open_source(f"gst:videotestsrc is-live=true ! video/x-raw,{caps}?reopen=0"),
    ):
        pass


@pytest.mark.row(5, "a pipeline whose valve closes")
def test_a_stall_is_told_within_three_frames_and_ends() -> None:
    with open_source(f"gst:{LIVE} ! valve name=valve?reopen=0") as source:
        frames_of(source, 3)
        valve = source.pipeline.running.get_by_name("valve")  # type: ignore[attr-defined] # a PipelineSource
        valve.set_property("drop", True)
        begin = time.monotonic()
        interruption = interruption_of(source)
        assert time.monotonic() - begin < 1
        assert interruption.state is State.NO_SIGNAL
        assert interruption.reason.kind == "stalled"
        valve.set_property("drop", False)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                if source.read() is not None:
                    break
            except (TimeoutError, Interruption):
                continue
        else:
            raise AssertionError("the source did not come back")


@pytest.mark.row(6, "caps that change while the pipeline runs")
def test_a_change_of_format_is_told_and_followed() -> None:
    text = (
        "videotestsrc is-live=true ! videoscale ! "
        "capsfilter name=size caps=video/x-raw,width=320,height=240"
    )
    with open_source(f"gst:{text}?reopen=0") as source:
        frames_of(source, 2)
        running = source.pipeline.running  # type: ignore[attr-defined] # a PipelineSource
        from edge.sources.gst_bindings import load

        caps = load().gst.Caps.from_string("video/x-raw,width=640,height=360")
        running.get_by_name("size").set_property("caps", caps)
        interruption = interruption_of(source)
        assert str(interruption.reason).startswith("format: 320x240")
        assert frames_of(source, 1)[0].image.shape == (360, 640, 3)
        assert source.counters["format"] == 1


@pytest.mark.row(7, "an interlaced pipeline")
def test_interlaced_pictures_are_deinterlaced() -> None:
    text = (
        "videotestsrc is-live=true ! "
        "video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! interlace"
    )
    with open_source(f"gst:{text}?reopen=0") as source:
        frames = frames_of(source, 3)
    assert frames[0].image.shape == (240, 320, 3)
    assert "interlaced" not in source.description


@pytest.mark.row(7, "interlaced caps where there is no deinterlacer")
def test_interlaced_caps_are_refused_by_name() -> None:
    refused = VideoFormat("YUY2", 1920, 1080, 25.0, "mixed").refusal()
    assert str(refused).startswith("interlaced: 1920x1080")
    assert not VideoFormat("YUY2", 1920, 1080, 25.0).refusal()


@pytest.mark.row(13, "buffers with the error flag, pushed into the pipeline")
@pytest.mark.row(14, "buffers whose numbers have a gap")
def test_flagged_buffers_are_dropped_and_gaps_counted() -> None:
    from edge.sources.gst_bindings import load

    gst = load().gst
    text = (
        "appsrc name=feed is-live=true format=time "
        "caps=video/x-raw,format=BGR,width=64,height=48,framerate=30/1"
    )
    stop = threading.Event()

    def feed(push: Callable[[Any], None]) -> None:
        number = 0
        while not stop.is_set():
            buffer = gst.Buffer.new_wrapped(bytes([number % 200]) * (64 * 48 * 3))
            buffer.offset, buffer.offset_end = number, number + 1
            if number % 5 == 3:
                buffer.set_flags(gst.BufferFlags.CORRUPTED)
            push(buffer)
            number += 3 if number == 10 else 1
            time.sleep(0.02)

    source = open_source(f"gst:{text}?reopen=0")
    parse = gst.parse_launch_full
    feeder: list[threading.Thread] = []

    def parse_and_feed(*arguments: Any) -> Any:
        running = parse(*arguments)
        origin = running.get_by_name("feed")
        push = partial(origin.emit, "push-buffer")
        feeder.append(threading.Thread(target=feed, args=(push,)))
        feeder[0].start()
        return running

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gst, "parse_launch_full", parse_and_feed)
            source.__enter__()
        values = [int(frame.image[0, 0, 0]) for frame in frames_of(source, 20)]
    finally:
        stop.set()
        source.close()
        for thread in feeder:
            thread.join()
    assert not any(value % 5 == 3 for value in values)
    assert source.counters["corrupt"] >= 2
    assert source.counters["gaps"] >= 2


@pytest.mark.row(15, "a consumer that takes 150 ms a frame")
def test_a_slow_consumer_gets_young_frames() -> None:
    with open_source(f"gst:{LIVE}?reopen=0") as source, NewestFrame(source.read) as newest:
        ages = []
        for _ in range(6):
            frame = newest.next_frame(5)
            assert frame is not None
            ages.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
            time.sleep(0.15)
    assert sorted(ages)[3] < 100, "nothing queues"


@pytest.mark.row(16, "time.time that jumps by a day at each call")
def test_a_wall_clock_that_jumps_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    day = iter(range(0, 10**9, 86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(day)))
    with open_source(f"gst:{LIVE}?reopen=0") as source:
        frames = frames_of(source, 3)
    assert all(a.captured_ns < b.captured_ns for a, b in pairwise(frames))


def test_nothing_is_left_open_after_many_openings() -> None:
    def once() -> None:
        with open_source(f"gst:{LIVE}?reopen=0") as source:
            frames_of(source, 1)

    once()
    handles, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(5):
        once()
    assert len(list(Path("/proc/self/fd").iterdir())) <= handles + 2
    assert threading.active_count() <= threads


def coded(side: int = 64) -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


WHOLE = coded()


@pytest.mark.row(12, "JPEG pictures that are cut")
@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_jpeg_is_damaged(length: int) -> None:
    assert jpeg_damage(WHOLE[:length], (64, 64))


@pytest.mark.row(12, "JPEG pictures with zeros in them")
@given(st.integers(700, len(WHOLE) - 200))
def test_a_zeroed_jpeg_is_damaged(begin: int) -> None:
    assert jpeg_damage(WHOLE[:begin] + bytes(128) + WHOLE[begin + 128 :], (64, 64))


@given(st.binary(max_size=300))
def test_garbage_is_no_jpeg_and_raises_nothing(data: bytes) -> None:
    assert jpeg_damage(data, (64, 64))


def test_a_whole_jpeg_is_not_damaged_and_one_of_another_size_is() -> None:
    assert jpeg_damage(WHOLE, (64, 64)) == ""
    assert jpeg_damage(WHOLE, (32, 64))


@pytest.mark.row(12, "five damaged pictures in a row")
def test_damage_in_a_row_degrades_and_a_good_picture_ends_it() -> None:
    from collections import Counter

    counters: Counter[str] = Counter()
    watch = DamageWatch(counters)
    for _ in range(4):
        watch.damaged("cut")
    watch.good()
    for _ in range(4):
        watch.damaged("cut")
    with pytest.raises(Interruption) as caught:
        watch.damaged("cut")
    assert caught.value.state is State.DEGRADED
    assert counters["corrupt"] == 9


def test_a_stall_is_three_periods_by_the_clock() -> None:
    now = [0]
    watch = StallWatch(lambda: now[0], fps=20)
    watch.note_frame()
    now[0] = 149_000_000
    assert watch.left_s() > 0
    now[0] = 151_000_000
    assert watch.left_s() < 0


def test_an_engine_error_does_not_end_its_process() -> None:
    program = """
from contextlib import suppress
from edge.engines.openvino import openvino_core
from edge.sources.open import open_source
caps = "video/x-raw,format=BGR,width=64,height=48,framerate=30/1"
text = f"gst:videotestsrc is-live=true ! {caps}?reopen=0"
with open_source(text) as source, suppress(TimeoutError):
    source.read()
try:
    openvino_core().read_model(model=b"no model", weights=b"")
except RuntimeError:
    print("told")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
