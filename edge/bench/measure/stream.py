"""A single stream of frames through an engine, at the highest rate or at a camera's rate.

The next frame starts after the last one is done; nothing overlaps. Frames pass through the same
stages as in `edge-difom run`, each with its time stamps. A frame's latency is the time from its
capture to the end of its output; its stages are contiguous and sum to the latency. At a camera's
rate the capture is the time at which the frame was due, so that a stall counts against every frame
that waits for it; after a stall the newest frame is processed.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, cast

from edge.bench.report.journal import Begin, Second
from edge.bench.report.record import WarmUp
from edge.errors import UsageError
from edge.frame import Frame, Stage
from edge.imaging.crop import cut, part_of
from edge.imaging.field_of_view import estimate
from edge.imaging.preprocess import to_input
from edge.pipeline.analysis import analyze
from edge.sources.base import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge.bench.report.journal import Sample
    from edge.bundle.manifest import Manifest
    from edge.contracts import Engine, Sink
    from edge.frame import ImageU8

STAGES = tuple(stage for stage in Stage if stage is not Stage.GUARD)
"""The stages of the frame loop except the frame guard, which only checks a camera's frames."""

_WARM_RUNS, _WARM_SECONDS, _WARM_LIMIT_SECONDS = 10, 2.0, 20.0
_SETTLED_DRIFT = 0.02
_IMAGES = 4
_SECOND_NS = 1_000_000_000


class Load(NamedTuple):
    """The rate of the frames.

    Attributes:
        name: `max`, or the frames per second.
        fps: Frames per second; None to start the next frame as soon as the last one is done.
    """

    name: str
    fps: float | None

    @classmethod
    def parse(cls, text: str) -> Load:
        """Parse the name of a load.

        Raises:
            UsageError: The name is neither `max` nor a positive number.
        """
        if text == "max":
            return cls("max", None)
        try:
            fps = float(text)
        except ValueError:
            fps = 0.0
        if not 0 < fps <= 1000:
            raise UsageError(
                "no such load",
                expected="max, or frames per second",
                got=text,
                hint="use max or a positive number",
                code="unknown-load",
            )
        return cls(f"{fps:g}", fps)


class Stream:
    """An engine and its frames, processed one after the other.

    Args:
        engine: An open engine.
        images: (H, W, 3) uint8 BGR frames, used in turn.
        manifest: Manifest of the engine's bundle.
        sinks: Outputs of the results, entered by the caller.
        clock: Nanoseconds; the clock of everything except CPU time.
        sleep: Waits for a number of seconds on that clock.
        cpu_clock: CPU time of this process in nanoseconds.

    Attributes:
        without_mask: Kind of reason -> number of frames without a mask for this reason, including
            the warm-up.
    """

    def __init__(
        self,
        engine: Engine,
        images: Sequence[ImageU8],
        manifest: Manifest,
        *,
        sinks: Sequence[Sink] = (),
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
        cpu_clock: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self.engine, self.images, self.manifest, self.sinks = engine, images, manifest, sinks
        self.clock, self.sleep, self.cpu_clock = clock, sleep, cpu_clock
        self.without_mask: Counter[str] = Counter()
        self._views = [estimate(image) for image in images]
        part = part_of(manifest.input.field_of_view, self._views[0])
        self._prepared = to_input(cut(images[0], part), engine.input_size, bgr=True)

    def frame(self, number: int, captured_ns: int) -> Frame:
        """Process a frame with the device's own pipeline; return it with its time stamps."""
        place = number % len(self.images)
        frame = Frame(number, self.images[place], captured_ns)
        frame.stamps[Stage.CAPTURE] = (captured_ns, self.clock())
        result = analyze(
            frame, self.engine, self.manifest, view=self._views[place], clock=self.clock
        )
        if result.reason is not None:
            self.without_mask[str(result.reason.kind)] += 1
        for sink in self.sinks:
            sink.write(frame, result)
        frame.stamps[Stage.OUTPUT] = (frame.stamps[Stage.POSTPROCESS][1], self.clock())
        return frame

    def frames(self, load: Load) -> Iterator[tuple[Frame, int]]:
        """Yield frames at a load's rate forever, each with the number overwritten before it."""
        number = 0
        pacer = Pacer(load.fps, self.clock, self.sleep) if load.fps else None
        while True:
            dropped, captured = pacer.wait() if pacer else (0, self.clock())
            number += dropped
            yield self.frame(number, captured), dropped
            number += 1

    def inference_ms(self) -> float:
        """Measure one inference alone."""
        begin = self.clock()
        self.engine.infer(self._prepared)
        return (self.clock() - begin) / 1e6

    def cpu_ms(self) -> float:
        """Measure the CPU time of the stages around inference, with the process's CPU clock."""
        frame = Frame(0, self.images[0], 0)
        analyze(frame, self.engine, self.manifest, view=self._views[0], clock=self.cpu_clock)
        spans = [frame.stamps[stage] for stage in (Stage.PREPROCESS, Stage.POSTPROCESS)]
        return sum(end - begin for begin, end in spans) / 1e6

    def repeat(self, seconds: float, measure_once: Callable[[], float]) -> list[float]:
        """Call `measure_once` for a time, at least once, and return the results."""
        begin = self.clock()
        measurements = [measure_once()]
        while (self.clock() - begin) / 1e9 < seconds:
            measurements.append(measure_once())
        return measurements


def run_load(
    stream: Stream,
    load: Load,
    seconds: float,
    *,
    sample: Callable[[], Sample],
    newest: Callable[[], Sample] | None = None,
    settled: Callable[[float, Sample], bool] = lambda *_: False,
) -> Iterator[Begin | Second]:
    """Warm up and count frames; yield one line per second.

    Args:
        stream: An engine with its frames.
        load: The rate of the frames.
        seconds: Time to count frames.
        sample: Samples the machine now; called before the first counted frame and after the last.
        newest: Returns the newest sample without waiting, for the seconds in between; `sample` by
            default.
        settled: Called with the seconds since the start and a sample; True ends the load.

    Raises:
        UsageError: `seconds` is not positive.
    """
    if not seconds > 0:
        raise UsageError(
            "the duration of the run is not usable", expected="seconds > 0", got=f"{seconds}"
        )
    newest = newest or sample
    frames = stream.frames(load)
    warmup = _warm_up(stream, frames, seconds)
    first = sample()
    yield Begin(load=load.name, fps=load.fps, warmup=warmup, machine=first)
    clock = stream.clock
    begin = clock()
    end, boundary = begin + round(seconds * 1e9), begin + _SECOND_NS
    cpu = stream.cpu_clock()
    while True:
        times: dict[str, list[int]] = {str(stage): [] for stage in STAGES}
        columns = [times[str(stage)] for stage in STAGES]
        lost = 0
        while True:
            frame, dropped = next(frames)
            stamps = frame.stamps
            for stage, column in zip(STAGES, columns, strict=True):
                start, stop = stamps[stage]
                column.append(stop - start)
            lost += dropped
            now = clock()
            if now >= boundary or now >= end:
                break
        over = now >= end
        used, cpu = stream.cpu_clock() - cpu, stream.cpu_clock()
        look = sample() if over else newest()
        yield Second(
            load=load.name,
            at_ns=now - begin,
            stages_ns=times,
            dropped=lost,
            cpu_ns=used,
            machine=look,
        )
        if over or settled((now - begin) / 1e9, look):
            return
        boundary += max(1, (now - boundary) // _SECOND_NS + 1) * _SECOND_NS


def phantom_images(size: tuple[int, int]) -> list[ImageU8]:
    """Return a few BGR frames of the phantom, half of them with a polyp.

    They are drawn small and enlarged, which is fast: the processing time of a frame depends on its
    size, not on its detail.
    """
    import cv2

    from edge.datasets.phantom.render import render

    scenes = (render(seed, polyp=seed % 2 == 0).image[..., ::-1] for seed in range(_IMAGES))
    return [cast("ImageU8", cv2.resize(image, size[::-1])) for image in scenes]


def whole_ms(frame: Frame) -> float:
    """Return a frame's latency, from its capture to the end of its output."""
    return (frame.stamps[Stage.OUTPUT][1] - frame.stamps[Stage.CAPTURE][0]) / 1e6


def _warm_up(stream: Stream, frames: Iterator[tuple[Frame, int]], seconds: float) -> WarmUp:
    """Run until the median of the last quarter differs by less than 2 % from the quarter before."""
    least = min(_WARM_SECONDS, seconds / 2)
    limit = max(least, min(_WARM_LIMIT_SECONDS, seconds))
    took: list[float] = []
    begin = stream.clock()
    while True:
        took.append(whole_ms(next(frames)[0]))
        elapsed = (stream.clock() - begin) / 1e9
        if len(took) < _WARM_RUNS or elapsed < least:
            continue
        window = len(took) // 4
        before, last = (
            statistics.median(took[-2 * window : -window]),
            statistics.median(took[-window:]),
        )
        drift = abs(last / before - 1)
        if drift < _SETTLED_DRIFT or elapsed >= limit:
            return WarmUp(
                runs=len(took),
                seconds=elapsed,
                drift=drift,
                settled=drift < _SETTLED_DRIFT,
                shortened=least < _WARM_SECONDS,
            )
