"""The pipeline on a fake engine and injected clocks: newest frame, stamps, age, reasons, ends."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.errors import InferenceFault, Interruption, SourceError
from edge.frame import Frame, Result, Stage
from edge.limits import MAX_MASK_AGE_MS
from edge.pipeline.analysis import analyze
from edge.pipeline.loop import FrameLoop
from edge.pipeline.run_stats import RunStats
from edge.sources.base import BaseSource
from edge.status import Condition, Reason, ReasonKind, State, Status
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

    from edge.bundle.manifest import Manifest
    from edge.frame import ImageU8
    from edge.pipeline.run_stats import RunSummary
    from edge.status import Status


class StudentEngine:
    """The tiny student in numpy, slow by the fake clock or the real one."""

    input_buffer = None

    name = "fake"
    input_size = (64, 64)

    def __init__(
        self,
        student: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        *,
        work: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.student, self.work, self.calls = student, work, 0

    def infer(self, image: ImageU8) -> ImageU8:
        assert image.shape == (64, 64, 3)
        self.work(self.calls)
        self.calls += 1
        return self.student(image)

    def settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        return


class ListSource(BaseSource):
    """Pictures that are there at once, or in the source's own time."""

    def __init__(
        self,
        pictures: list[ImageU8],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        live: bool = False,
        period: float = 0.0,
        fail: bool = False,
    ) -> None:
        super().__init__(clock=clock)
        self.pictures, self.live, self.period, self.fail = pictures, live, period, fail
        self.closed = 0

    def _open(self) -> None:
        self.left = iter(self.pictures)

    def _next(self) -> Frame | None:
        time.sleep(self.period)
        picture = next(self.left, None)
        if picture is None and self.fail:
            raise SourceError("the camera was unplugged")
        return None if picture is None else self._frame(picture)

    def _close(self) -> None:
        self.closed += 1


class KeepSink:
    """Keeps what it is given, and whether it was closed."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.frames: list[Frame] = []
        self.results: list[Result] = []
        self.told: list[Status] = []
        self.seen: list[dict[Stage, tuple[int, int]]] = []
        self.work, self.closed = work, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closed = True

    def outputs(self) -> list[Path]:
        return []

    def notify(self, status: Status) -> None:
        self.told.append(status)

    def write(self, frame: Frame, result: Result) -> None:
        self.seen.append(dict(frame.stamps))
        self.work()
        self.frames.append(frame)
        self.results.append(result)


def run_loop(
    source: BaseSource,
    engine: StudentEngine,
    sinks: list[KeepSink],
    manifest: Manifest,
    *,
    frames: int | None = None,
    seconds: float | None = None,
    **parts: Any,
) -> RunSummary:
    loop = FrameLoop(source=source, engine=engine, sinks=sinks, manifest=lambda: manifest, **parts)
    return loop.run(frames=frames, seconds=seconds)


@pytest.fixture
def manifest(tiny_parts: tuple[Manifest, dict[str, bytes]]) -> Manifest:
    return tiny_parts[0]


@pytest.fixture
def engine(tiny_student: Any) -> StudentEngine:
    return StudentEngine(tiny_student)


@pytest.fixture
def pictures(tiny_scene: Any) -> list[ImageU8]:
    """BGR; every second one has a polyp."""
    return [
        np.ascontiguousarray(tiny_scene(n, height=96, width=128, polyp=n % 2 == 0)[..., ::-1])
        for n in range(6)
    ]


def test_every_frame_of_a_clip_is_taken_in_order(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    sink, source = KeepSink(), ListSource(pictures)
    summary = run_loop(source, engine, [sink], manifest)
    assert [frame.index for frame in sink.frames] == list(range(6))
    assert [len(result.regions) for result in sink.results] == [1, 0, 1, 0, 1, 0]
    assert [result.reason for result in sink.results] == [None] * 6
    assert (summary.frames, summary.dropped, summary.frames_with_mask) == (6, 0, 3)
    assert (summary.reasons, summary.ended) == ({}, "source")
    assert sink.closed
    assert source.closed == 1


def test_regions_are_in_pixels_of_the_frame(
    manifest: Manifest, engine: StudentEngine, tiny_scene: Any
) -> None:
    image = tiny_scene(3, height=480, width=640)
    red = image[..., 0] > image[..., 1].astype(int) + 60
    frame = Frame(0, np.ascontiguousarray(image[..., ::-1]), 0)
    (region,) = analyze(frame, engine, manifest).regions
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    x, y, w, h = region.box
    assert abs(x - columns[0]) < 45
    assert abs(y - rows[0]) < 45
    assert abs(x + w - columns[-1]) < 45
    assert abs(y + h - rows[-1]) < 45
    assert abs(region.area - red.mean()) < 0.05


def test_stages_follow_each_other_and_sum_to_the_whole(
    manifest: Manifest, tiny_student: Any, pictures: list[ImageU8]
) -> None:
    clock = FakeClock(step_ns=1000)
    engine = StudentEngine(tiny_student, work=lambda _: clock.spend(30))
    slow, record = KeepSink(lambda: clock.spend(7)), KeepSink()
    summary = run_loop(
        ListSource(pictures, clock=clock), engine, [slow, record], manifest, clock=clock
    )
    for frame in record.frames:
        assert tuple(frame.stamps) == tuple(stage for stage in Stage if stage is not Stage.GUARD)
        assert frame.stamps[Stage.CAPTURE][0] == frame.captured_ns
        for (_, end), (begin, _) in pairwise(frame.stamps.values()):
            assert begin == end
    stages = {name: quantiles.p50 for name, quantiles in summary.stages_ms.items()}
    assert stages["infer"] == pytest.approx(30, abs=0.1)
    assert stages["output"] == pytest.approx(7, abs=0.1)
    assert summary.age_ms is not None
    assert sum(stages.values()) == pytest.approx(summary.age_ms.p50, abs=0.02)
    # The sink that comes later knows what the one before it took.
    stamps = record.seen[0][Stage.OUTPUT]
    assert (stamps[1] - stamps[0]) / 1e6 == pytest.approx(7, abs=0.1)


@pytest.mark.row(15, "an engine slower than the source")
def test_a_slow_engine_gets_the_newest_frame(
    manifest: Manifest, tiny_student: Any, pictures: list[ImageU8]
) -> None:
    """A slow engine gets the newest frame and the gap is counted."""
    engine = StudentEngine(tiny_student, work=lambda _: time.sleep(0.05))
    sink = KeepSink()
    summary = run_loop(ListSource(pictures * 10, live=True, period=0.005), engine, [sink], manifest)
    indices = [frame.index for frame in sink.frames]
    assert indices == sorted(set(indices))
    assert len(indices) < 30
    assert summary.dropped == indices[-1] - indices[0] + 1 - len(indices) > 20
    assert summary.stages_ms["capture"].p50 < 30, "nothing queued"
    assert indices[-1] == 59


@pytest.mark.row(22, "an engine that takes 143 ms by an injected clock: no mask")
@pytest.mark.parametrize(
    ("live", "spent", "reason"),
    [(True, 143.0, "stale: 143 ms old"), (True, MAX_MASK_AGE_MS - 5, None), (False, 143.0, None)],
)
def test_a_mask_that_is_too_old_is_not_drawn(
    manifest: Manifest,
    tiny_student: Any,
    pictures: list[ImageU8],
    live: bool,
    spent: float,
    reason: str | None,
) -> None:
    clock, sink = FakeClock(step_ns=1000), KeepSink()
    engine = StudentEngine(tiny_student, work=lambda _: clock.spend(spent))
    source = ListSource(pictures[:1], clock=clock, live=live)
    summary = run_loop(source, engine, [sink], manifest, clock=clock)
    (result,) = sink.results
    assert (result.reason and str(result.reason)) == reason
    assert bool(result.regions) == (reason is None)
    assert (result.mask_area > 0) == (reason is None)
    assert summary.reasons == ({"stale": 1} if reason else {})
    assert summary.max_age_ms == pytest.approx(spent, abs=1)


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        pytest.param(
            np.full((16, 16), 255, np.uint8),
            "implausible: the mask covers 100 % of the picture",
            marks=pytest.mark.row(18, "an engine whose mask covers everything"),
        ),
        (np.zeros((8, 8), np.uint8), "damaged: the engine gave (8, 8) uint8, not (16, 16) uint8"),
        (np.full((16, 16), np.nan, np.float32), "damaged: the engine gave NaN or Inf"),
    ],
)
def test_an_answer_that_cannot_be_is_not_drawn(
    manifest: Manifest, pictures: list[ImageU8], scores: Any, says: str
) -> None:
    sink = KeepSink()
    summary = run_loop(ListSource(pictures), StudentEngine(lambda _: scores), [sink], manifest)
    for result in sink.results:
        assert result.reason is not None
        assert str(result.reason).startswith(says)
        assert result.regions == ()
    assert summary.reasons == {says.partition(":")[0]: 6}
    assert summary.frames_with_mask == 0


@pytest.mark.parametrize("live", [False, True])
def test_a_failing_source_ends_the_run_with_whole_outputs(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8], live: bool
) -> None:
    sink = KeepSink()
    source = ListSource(pictures, live=live, period=0.01, fail=True)
    with pytest.raises(SourceError, match="unplugged"):
        run_loop(source, engine, [sink], manifest)
    assert sink.closed
    assert source.closed == 1
    assert sink.frames


def test_an_engine_that_fails_closes_everything(
    manifest: Manifest, pictures: list[ImageU8]
) -> None:
    def fail(_: ImageU8) -> ImageU8:
        raise ZeroDivisionError

    sink, source = KeepSink(), ListSource(pictures, live=True, period=0.001)
    with pytest.raises(ZeroDivisionError):
        run_loop(source, StudentEngine(fail), [sink], manifest)
    assert sink.closed
    assert source.closed == 1


def test_it_ends_after_so_many_frames(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    summary = run_loop(ListSource(pictures), engine, [], manifest, frames=2)
    assert (summary.frames, summary.ended) == (2, "frames")


def test_it_ends_after_its_time(
    manifest: Manifest, tiny_student: Any, pictures: list[ImageU8]
) -> None:
    clock = FakeClock(step_ns=1000)
    engine = StudentEngine(tiny_student, work=lambda _: clock.spend(400))
    summary = run_loop(
        ListSource(pictures, clock=clock), engine, [], manifest, seconds=1, clock=clock
    )
    assert (summary.frames, summary.ended) == (3, "seconds")


def test_it_ends_in_time_though_no_frame_comes(manifest: Manifest, engine: StudentEngine) -> None:
    class Silent(ListSource):
        def _next(self) -> Frame | None:
            time.sleep(1)
            return None

    begin = time.monotonic()
    summary = run_loop(Silent([], live=True), engine, [], manifest, seconds=0.1)
    assert time.monotonic() - begin < 3
    assert (summary.frames, summary.fps, summary.age_ms, summary.ended) == (0, 0.0, None, "seconds")


def test_it_ends_when_it_is_told_to(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    stop, indices = threading.Event(), []

    def on_frame(frame: Frame, _: Result) -> None:
        indices.append(frame.index)
        if len(indices) == 3:
            stop.set()

    sink = KeepSink()
    source = ListSource(pictures * 100, live=True, period=0.002)
    summary = run_loop(source, engine, [sink], manifest, stop=stop, on_frame=on_frame)
    assert (len(indices), summary.frames, summary.ended) == (3, 3, "stopped")
    assert sink.closed
    assert source.closed == 1


def test_the_summary_is_a_record(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    import msgspec

    summary = run_loop(ListSource(pictures), engine, [], manifest)
    record = msgspec.to_builtins(summary)
    assert set(record["stages_ms"]) == {stage.value for stage in Stage} - {"guard"}
    assert set(record["stages_ms"]["infer"]) == {"p50", "p90", "p99"}
    assert record["fps"] == pytest.approx(record["frames"] / record["seconds"])


def test_the_summary_of_a_long_run_is_of_its_newest_frames(
    pictures: list[ImageU8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.pipeline.run_stats._MAX_VALUES", 5)
    stats = RunStats()
    for number in range(23):
        begin = 40_000_000 * (number + 1)
        stamps = {Stage.INFER: (begin, begin + 1_000_000 * number)}
        stats.add(Frame(number, pictures[0], begin, stamps), Result(None, (), 0.0, None))
    summary = stats.summary("stopped")
    assert summary.frames == 23
    assert summary.stages_ms["infer"].p50 == pytest.approx(20)
    assert summary.stages_ms["infer"].p90 == pytest.approx(21.6)
    assert summary.age_ms is not None
    assert summary.age_ms.p50 == pytest.approx(20)
    assert summary.max_age_ms == pytest.approx(22)


BECAUSE = Reason(ReasonKind.HOT, "so")


class Watcher:
    """An observer that asks for states and keeps what it was told."""

    def __init__(self) -> None:
        self.wishes: list[Condition] = []
        self.seen: list[tuple[State, bool]] = []

    def conditions(self) -> list[Condition]:
        return self.wishes

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        assert (frame is None) == (result is None)
        self.seen.append((status.state, frame is not None))


@pytest.mark.parametrize("state", [State.BOOT, State.SELFTEST, State.BYPASS])
def test_no_mask_is_drawn_in_a_state_that_an_observer_asks_for(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8], state: State
) -> None:
    watcher, sink = Watcher(), KeepSink()
    watcher.wishes = [Condition(state, BECAUSE)]
    run_loop(ListSource(pictures), engine, [sink], manifest, observers=[watcher])
    assert {result.reason for result in sink.results} == {BECAUSE}
    assert not any(result.regions for result in sink.results)
    assert watcher.seen == [(state, True)] * 6
    assert {status.state for status in sink.told} == {state}


def test_masks_are_still_drawn_while_degraded(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    watcher, sink = Watcher(), KeepSink()
    watcher.wishes = [Condition(State.DEGRADED, Reason(ReasonKind.WARM, "90 C, every 2nd frame"))]
    run_loop(
        ListSource(pictures), engine, [sink], manifest, observers=[watcher], keep_every=lambda: 2
    )
    assert [frame.index for frame in sink.frames] == [1, 3, 5]
    assert {status.state for status in sink.told} == {State.DEGRADED}
    assert [result.reason for result in sink.results] == [None] * 3


def test_a_fault_of_the_engine_costs_the_mask_and_not_the_loop(
    manifest: Manifest, tiny_student: Any, pictures: list[ImageU8]
) -> None:
    ahead = iter([False, False, True, False, False, False])

    def work(_: int) -> None:
        if next(ahead):
            raise InferenceFault(ReasonKind.HANG, "no answer for 100 ms")

    sink = KeepSink()
    summary = run_loop(
        ListSource(pictures), StudentEngine(tiny_student, work=work), [sink], manifest
    )
    assert [result.reason for result in sink.results] == [None] * 2 + [
        Reason(ReasonKind.HANG, "no answer for 100 ms")
    ] + [None] * 3
    assert summary.reasons == {"hang": 1}
    assert sink.told[2].state is State.DEGRADED


class Interrupted(ListSource):
    """A camera that loses its signal after two frames and finds it again."""

    live = True

    def _next(self) -> Frame | None:
        if self._index == 2 and self.lost:
            self.lost -= 1
            time.sleep(0.02)
            raise Interruption(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "no /dev/video0"))
        time.sleep(0.03)
        return super()._next()

    lost = 8


def test_masks_come_back_with_the_signal(
    manifest: Manifest, engine: StudentEngine, pictures: list[ImageU8]
) -> None:
    """Without a signal everybody is told, and masks come back with it."""
    watcher, sink = Watcher(), KeepSink()
    summary = run_loop(
        Interrupted(pictures[:1] * 6, live=True), engine, [sink], manifest, observers=[watcher]
    )
    states = [status.state for status in sink.told]
    assert states[0] is states[-1] is State.RUNNING
    assert State.NO_SIGNAL in states
    assert (State.NO_SIGNAL, False) in watcher.seen
    assert summary.ended == "source"
    assert [bool(result.regions) for result in sink.results] == [True] * 6
