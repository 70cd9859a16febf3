"""A virtual camera (vivid): unplugged, without a signal, with damaged and lost buffers."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.errors import Interruption
from edge.limits import MAX_MASK_AGE_MS
from edge.pipeline.loop import FrameLoop
from edge.sources.open import open_source
from edge.sources.reconnect import PATIENCE_S as LONG_S
from edge.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.frame import Frame, ImageU8, Result
    from edge.sources.base import BaseSource
    from edge.status import Status

pytestmark = pytest.mark.vm

BY_ID = Path("/dev/v4l/by-id")
NAME = "usb-vivid-video-index0"
WEBCAM, HDMI = 0, 1
PATIENCE_S = 30.0
"""Longest time in seconds before a test gives up; the machine is emulated and shared."""


def call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Vivid:
    """The camera: `plug` and `unplug` it, or turn one of its switches."""

    node = "/dev/video0"

    def plug(self, number: int = 0, *, entry: int = WEBCAM) -> None:
        """Appear as `/dev/videoNUMBER`, with the lasting name that udev would give it."""
        self.node = f"/dev/video{number}"
        # One capture node with two inputs: a webcam and HDMI.
        call(
            "modprobe", "vivid", "n_devs=1", "node_types=0x1", "num_inputs=2", "input_types=0xc",
            f"vid_cap_nr={number}",
        )  # fmt: skip
        self.tell("-i", str(entry))
        BY_ID.mkdir(parents=True, exist_ok=True)
        (BY_ID / NAME).symlink_to(self.node)

    def unplug(self) -> None:
        """Disappear while somebody streams."""
        (BY_ID / NAME).unlink(missing_ok=True)
        self.switch(disconnect=1)

    def remove(self) -> None:
        """Take the module out, as soon as nobody holds its node."""
        (BY_ID / NAME).unlink(missing_ok=True)
        until = time.monotonic() + PATIENCE_S
        while Path("/sys/module/vivid").exists() and time.monotonic() < until:
            subprocess.run(["modprobe", "-r", "vivid"], capture_output=True, check=False)
            time.sleep(0.2)
        assert not Path("/sys/module/vivid").exists(), "somebody still holds the camera"

    def switch(self, **values: int) -> None:
        """Set controls of the driver."""
        for name, value in values.items():
            self.tell("-c", f"{name}={value}")

    def tell(self, *arguments: str) -> str:
        return call("v4l2-ctl", "-d", self.node, *arguments)


@pytest.fixture
def vivid() -> Iterator[Vivid]:
    """The camera, not plugged in yet."""
    camera = Vivid()
    yield camera
    camera.remove()


def opened(target: str, **options: int) -> BaseSource:
    """The source as the command line makes it, patient enough for an emulated machine."""
    settings = {"stall_ms": 3000, "start_ms": 30000, **options}
    return open_source(
        f"v4l2:{target}?" + "&".join(f"{name}={value}" for name, value in settings.items())
    )


SMALL = {"width": 320, "height": 180, "fps": 15}


def frame_of(source: BaseSource, *, enough: Callable[[Frame], bool] = lambda _: True) -> Frame:
    """Read until a frame is `enough`, over whatever interrupts."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            frame = source.read()
        except (TimeoutError, Interruption):
            continue
        assert frame is not None, "the source ended"
        if enough(frame):
            return frame
    pytest.fail("no such frame came")


def interruption_of(source: BaseSource, kind: str) -> Interruption:
    """Read until the source is interrupted for this kind of reason; others may come first."""
    until, others = time.monotonic() + PATIENCE_S, set()
    while time.monotonic() < until:
        with suppress(TimeoutError):
            try:
                source.read()
            except Interruption as interruption:
                if interruption.reason.kind == kind:
                    return interruption
                others.add(str(interruption.reason))
    pytest.fail(f"not interrupted as {kind}; but: {sorted(others)}")


@pytest.mark.row(1, "vivid disconnected while it streams")
@pytest.mark.row(2, "vivid loaded again, on another node")
def test_an_unplugged_camera_is_told_and_found_again_by_its_name(vivid: Vivid) -> None:
    vivid.plug()
    with opened(NAME, **SMALL) as source:
        frame_of(source)
        vivid.unplug()
        assert interruption_of(source, "unplugged").state is State.NO_SIGNAL
        vivid.remove()
        vivid.plug(5)
        assert frame_of(source).image.shape == (180, 320, 3)
        assert source.counters["reopened"] == 1


@pytest.mark.row(3, "HDMI input of vivid without a signal, and without lock")
@pytest.mark.parametrize(("mode", "kind"), [(1, "no-signal"), (2, "no-lock")])
def test_a_lost_signal_is_told_with_its_reason_and_comes_back(
    vivid: Vivid, mode: int, kind: str
) -> None:
    vivid.plug(entry=HDMI)
    with opened(vivid.node) as source:
        frame_of(source)
        vivid.switch(dv_timings_signal_mode=mode)
        assert interruption_of(source, kind).state is State.NO_SIGNAL
        until = time.monotonic() + 2 * LONG_S
        while time.monotonic() < until:
            assert interruption_of(source, kind).state is State.NO_SIGNAL
        assert source.counters["reopened"] == 0, (
            "a device that tells its trouble is not opened anew"
        )
        vivid.switch(dv_timings_signal_mode=0)
        frame_of(source)


@pytest.mark.row(4, "timing that the HDMI input of vivid does not take")
def test_a_timing_out_of_range_is_refused_and_named(vivid: Vivid) -> None:
    vivid.plug(entry=HDMI)
    with opened(vivid.node) as source:
        frame_of(source)
        vivid.switch(dv_timings_signal_mode=3)
        assert interruption_of(source, "out-of-range").state is State.NO_SIGNAL
        vivid.switch(dv_timings_signal_mode=0)
        frame_of(source)


@pytest.mark.row(6, "other DV timings on the HDMI input of vivid")
def test_another_format_is_taken_up_without_a_restart(vivid: Vivid) -> None:
    vivid.plug(entry=HDMI)
    with opened(vivid.node) as source:
        before = frame_of(source).image.shape
        assert before == (720, 1280, 3)
        # Number 0 of the driver's menu: 640x480p59.
        vivid.switch(dv_timings=0, dv_timings_signal_mode=4)
        assert frame_of(source, enough=lambda frame: frame.image.shape != before).image.shape == (
            480,
            640,
            3,
        )


@pytest.mark.row(13, "error flag set on buffers of vivid")
def test_a_buffer_with_the_error_flag_is_dropped_and_counted(vivid: Vivid) -> None:
    vivid.plug()
    with opened(vivid.node, **SMALL) as source:
        frame_of(source)
        for _ in range(3):
            vivid.switch(inject_v4l2_buf_flag_error=1)
            frame_of(source)
        frame_of(source, enough=lambda _: source.counters["corrupt"] > 0)


@pytest.mark.row(14, "vivid drops half of its buffers")
def test_dropped_buffers_are_counted_as_gaps(vivid: Vivid) -> None:
    vivid.plug()
    with opened(vivid.node, **SMALL) as source:
        first = frame_of(source)
        vivid.switch(percentage_of_dropped_buffers=50)
        last = frame_of(source, enough=lambda _: source.counters["gaps"] >= 3)
        assert last.index > first.index


class Gray:
    """A student that finds a polyp on the right half of every picture."""

    input_buffer = None

    name = "gray"
    input_size = (64, 64)

    def infer(self, _: ImageU8) -> ImageU8:
        scores = np.zeros((16, 16), np.uint8)
        scores[:, 8:] = 200
        return scores

    def settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


class Shown:
    """What a second monitor would show: whether a mask was drawn and when, and every status."""

    def __init__(self) -> None:
        self.masks: list[int] = []
        self.told: list[tuple[int, Status]] = []
        self.ages: list[float] = []
        self.enough = threading.Event()

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, result: Result) -> None:
        now = time.monotonic_ns()
        self.ages.append((now - frame.captured_ns) / 1e6)
        if result.regions:
            self.masks.append(now)
            self.enough.set()

    def outputs(self) -> list[Path]:
        return []

    def notify(self, status: Status) -> None:
        self.told.append((time.monotonic_ns(), status))

    def until(self, accepts: Callable[[Status], bool]) -> int:
        """When the first status that is wanted was told."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for moment, status in tuple(self.told):
                if accepts(status):
                    return moment
            time.sleep(0.02)
        pytest.fail(
            f"only told: {[(status.state.value, status.reason) for _, status in self.told][-5:]}"
        )


@pytest.fixture
def running(tiny_bundle: Path) -> Iterator[Callable[[BaseSource], Shown]]:
    """`running(source)`: a frame loop in a thread, until the test ends."""
    manifest, stop, threads = Bundle.open(tiny_bundle).manifest, threading.Event(), []

    def start(source: BaseSource) -> Shown:
        sink = Shown()
        # On an emulated processor every frame is old; how old a mask may be is tested elsewhere.
        loop = FrameLoop(
            source=source, engine=Gray(), manifest=lambda: manifest, sinks=[sink], stop=stop,
            max_age_ms=20 * MAX_MASK_AGE_MS,
        )  # fmt: skip
        thread = threading.Thread(target=loop.run)
        thread.start()
        threads.append(thread)
        assert sink.enough.wait(PATIENCE_S)
        return sink

    yield start
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.row(1, "vivid disconnected under the frame loop")
def test_no_mask_is_shown_once_the_camera_is_gone(
    vivid: Vivid, running: Callable[[BaseSource], Shown]
) -> None:
    vivid.plug()
    sink = running(opened(NAME, **SMALL))
    vivid.unplug()
    gone_at = sink.until(lambda status: status.state is State.NO_SIGNAL)
    time.sleep(0.5)
    assert [moment for moment in sink.masks if moment > gone_at] == []
    vivid.remove()
    vivid.plug(3)
    end = time.monotonic() + PATIENCE_S
    while not [moment for moment in sink.masks if moment > gone_at] and time.monotonic() < end:
        time.sleep(0.05)
    assert [moment for moment in sink.masks if moment > gone_at]


@pytest.mark.row(16, "wall clock set by an hour forth and back")
def test_a_wall_clock_that_jumps_changes_nothing(
    vivid: Vivid, running: Callable[[BaseSource], Shown]
) -> None:
    vivid.plug()
    sink = running(opened(vivid.node, **SMALL))
    before = len(sink.told)
    for jump in (3600, -7200, 3600):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + jump)
        masks, end = len(sink.masks), time.monotonic() + PATIENCE_S
        while len(sink.masks) < masks + 5 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(sink.masks) >= masks + 5
    assert {status.state for _, status in sink.told[before:]} == {State.RUNNING}
    assert all(0 <= age < 20 * MAX_MASK_AGE_MS for age in sink.ages)
