"""The whole device: a source, the supervised student and everybody who follows the frame loop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.contracts import CartEvent, CartReport, PedalEvent
from edge.errors import Interruption
from edge.frame import Frame, Result, Stage
from edge.inference.supervisor import SingleBundle
from edge.pipeline.device import DeviceOptions, open_device
from edge.pipeline.observers import CartObserver, SignalObserver
from edge.sinks.base import BaseSink, SinkOptions
from edge.sources.base import BaseSource
from edge.status import Reason, ReasonKind, State, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from edge.frame import ImageU8
    from edge.util.spec import Spec


pytestmark = pytest.mark.alone


class Camera(BaseSource):
    """A camera at 50 frames a second that shows one scene; noise keeps it from being frozen."""

    live = True
    fps = 50.0

    def __init__(self, picture: ImageU8, frames: int, **timing: Any) -> None:
        super().__init__(**timing)
        self.picture, self.frames = picture, frames
        self.silent_at, self.silent = -1, 10
        self.rng = np.random.default_rng(0)

    def _open(self) -> None:
        return

    def _next(self) -> Frame | None:
        time.sleep(0.02)
        if self._index >= self.frames:
            return None
        if self._index == self.silent_at and self.silent:
            self.silent -= 1
            raise Interruption(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "no /dev/video0"))
        noise = self.rng.integers(0, 8, self.picture.shape).astype(np.uint8)
        return self._frame(np.clip(self.picture.astype(int) + noise, 0, 255).astype(np.uint8))

    def _close(self) -> None:
        return


class Kept(BaseSink):
    """Keeps results and states."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Result] = []
        self.states: list[State] = []

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        raise AssertionError(f"made in code only, not of {spec} and {options}")

    def write(self, frame: Frame, result: Result) -> None:
        assert frame.stamps
        self.results.append(result)

    def notify(self, status: Status) -> None:
        super().notify(status)
        if not self.states or self.states[-1] is not status.state:
            self.states.append(status.state)


@pytest.fixture
def picture(tiny_scene: Any) -> ImageU8:
    return np.ascontiguousarray(tiny_scene(0, height=240, width=320)[..., ::-1])


def options(**changes: Any) -> DeviceOptions:
    return replace(DeviceOptions(engine="tflite", threads=1, guard=False, smooth=False), **changes)


def worker() -> int:
    """The student's process of this test."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"edge.inference.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no student's process")


def test_boot_and_selftest_come_before_the_first_mask(
    tiny_bundle: Path, picture: ImageU8, tmp_path: Path
) -> None:
    sink, log, metrics = Kept(), tmp_path / "journal", tmp_path / "metrics.prom"
    chosen = options(log=log, metrics=metrics)
    with open_device(Camera(picture, 200), [sink], SingleBundle(tiny_bundle), chosen) as loop:
        loop.run()
    assert sink.states[0] is State.BOOT
    assert sink.states[-1] is State.RUNNING
    masks = [bool(result.regions) for result in sink.results]
    assert masks.index(True) > 0
    assert all(masks[masks.index(True) :])
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["kind"] for event in events if event["kind"] != "state"] == [
        "start",
        "ready",
        "stop",
    ]
    assert "edge_difom_up 0.0" in metrics.read_text(), "the last file tells the end"


@pytest.mark.row(19, "SIGSTOP of the student's process under the whole device")
@pytest.mark.row(21, "SIGKILL of the student's process under the whole device")
@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_the_loop_goes_on_while_the_student_is_started_again(
    tiny_bundle: Path, picture: ImageU8, harm: signal.Signals
) -> None:
    sink = Kept()
    loop_stop, struck_at = threading.Event(), list[int]()

    def follow(_: Frame, result: Result) -> None:
        if result.regions and not struck_at:
            struck_at.append(len(sink.results))
            os.kill(worker(), harm)
        elif result.regions and sink.states[-1] is State.RUNNING and State.DEGRADED in sink.states:
            loop_stop.set()

    store = SingleBundle(tiny_bundle)
    with open_device(
        Camera(picture, 900), [sink], store, options(), stop=loop_stop, on_frame=follow
    ) as loop:
        assert loop.run().ended == "stopped"
    kinds = {
        str(result.reason.kind) if result.reason else "" for result in sink.results[struck_at[0] :]
    }
    assert kinds & {"memory", "hang"}
    assert "restarting" in kinds
    assert State.DEGRADED in sink.states
    assert sink.results[-1].regions, "masks came back"
    assert store.current() == tiny_bundle


@pytest.mark.row(39, "the only bundle is unreadable: the device bypasses and keeps taking frames")
def test_without_a_bundle_the_device_bypasses(
    tiny_bundle: Path, picture: ImageU8, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(tiny_bundle, tmp_path / "broken"))
    (broken / "manifest.json").write_text("{}")
    sink = Kept()
    with open_device(Camera(picture, 40), [sink], SingleBundle(broken), options()) as loop:
        summary = loop.run()
    assert sink.states[-1] is State.BYPASS
    assert summary.frames_with_mask == 0
    assert summary.frames > 10


@pytest.mark.row(1, "a source that says that it lost its camera: mask off at once, and on again")
def test_a_lost_signal_is_told_and_masks_come_back(tiny_bundle: Path, picture: ImageU8) -> None:
    sink, camera = Kept(), Camera(picture, 150)
    camera.silent_at = 100
    with open_device(camera, [sink], SingleBundle(tiny_bundle), options()) as loop:
        loop.run()
    assert State.NO_SIGNAL in sink.states
    assert sink.states[-1] is State.RUNNING


def test_of_pictures_that_can_wait_none_is_lost_to_the_start(
    tiny_bundle: Path, picture: ImageU8
) -> None:
    class Clip(Camera):
        live = False

    sink = Kept()
    with open_device(Clip(picture, 5), [sink], SingleBundle(tiny_bundle), options()) as loop:
        loop.run()
    assert [bool(result.regions) for result in sink.results] == [True] * 5


class Link:
    """A cart that reports what it is told to."""

    def __init__(self) -> None:
        self.beats: list[tuple[State, float | None, bool]] = []
        self.waiting: list[CartReport] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def beat(self, status: Status, *, frame_age_ms: float | None, mask: bool) -> None:
        self.beats.append((status.state, frame_age_ms, mask))

    def events(self) -> Sequence[CartReport]:
        waiting, self.waiting = self.waiting, []
        return waiting


class Notes:
    """Telemetry that keeps events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, kind: str, /, **details: object) -> None:
        self.events.append(f"{kind} {details.get('detail')}")


def test_heartbeats_have_the_frames_age_and_masks_a_lease() -> None:
    link, stop = Link(), threading.Event()
    observer = CartObserver(link, Notes(), stop)  # type: ignore[arg-type] # the journal's part of it
    running = Status(State.RUNNING, None, 0)
    frame = Frame(
        0, np.zeros((2, 2, 3), np.uint8), 1_000_000, {Stage.OUTPUT: (2_000_000, 31_000_000)}
    )
    observer.progress(running, frame, Result(None, (), 0.0, None))
    observer.progress(running, frame, Result(None, (), 0.0, Reason(ReasonKind.STALE, "130 ms old")))
    observer.progress(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED), 0), None, None)
    assert link.beats == [
        (State.RUNNING, 30.0, True),
        (State.RUNNING, 30.0, False),
        (State.NO_SIGNAL, None, False),
    ]


def test_a_failing_supply_ends_the_run_in_bypass() -> None:
    """A failing supply ends the run in bypass and a pedal is noted."""
    link, stop, notes = Link(), threading.Event(), Notes()
    observer = CartObserver(link, notes, stop)  # type: ignore[arg-type] # the journal's part of it
    link.waiting = [PedalEvent(1, True)]
    observer.progress(Status(State.RUNNING, None, 0), None, None)
    assert not list(observer.conditions())
    assert not stop.is_set()
    link.waiting = [CartEvent("power-fail", "the supply fails", 40)]
    observer.progress(Status(State.RUNNING, None, 0), None, None)
    assert list(observer.conditions()) == [
        (State.BYPASS, Reason(ReasonKind.POWER_FAIL, "the supply holds for 40 ms"))
    ]
    assert stop.is_set()
    assert notes.events == ["cart-pedal pedal 1 pressed", "cart-power-fail the supply fails"]


def test_updates_are_held_off_while_frames_come() -> None:
    signals: list[bool] = []

    class Lock(AbstractContextManager["Lock"]):
        def __exit__(self, *_: object) -> None: ...

        def present(self, signal: bool) -> bool:
            signals.append(signal)
            return signal

    observer = SignalObserver(Lock())
    frame = Frame(0, np.zeros((2, 2, 3), np.uint8), 0)
    observer.progress(Status(State.BOOT, Reason(ReasonKind.STARTING), 0), None, None)
    observer.progress(Status(State.RUNNING, None, 0), frame, Result(None, (), 0.0, None))
    observer.progress(Status(State.RUNNING, None, 0), None, None)
    observer.progress(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED), 0), None, None)
    assert signals == [True, False]
