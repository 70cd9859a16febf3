"""A single stream of frames through an engine: at the highest rate, or at a camera's pace; stages stamped on every frame.

The next frame starts when the last is done; nothing overlaps. Frames take the way of `edge-difom
run`. A frame's latency is the time from its capture to the end of its output; its stages share
their boundaries and sum to the whole. At a camera's pace the capture is the moment at which the
picture was due, so that a stall counts against every picture that waits for its end, and of
pictures that came meanwhile the newest is taken.
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
"""Those of the frame loop, but for the guard that looks at a camera's picture before anything else does."""

_WARM_RUNS, _WARM_SECONDS, _WARM_LIMIT_SECONDS = 10, 2.0, 20.0
_SETTLED_DRIFT = 0.02
_IMAGES = 4
_SECOND_NS = 1_000_000_000


class Load(NamedTuple):
    """How frames come.

    Attributes:
        name: `max`, or the frames per second.
        fps: Frames per second; None for the next one as soon as the last is done.
    """

    name: str
    fps: float | None

    @classmethod
    def parse(cls, text: str) -> Load:
        """The load that a text names.

        Raises:
            UsageError: It is neither `max` nor a positive number.
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
                hint="--rate max --rate 30",
            )
        return cls(f"{fps:g}", fps)


class Stream:
    """An engine with its frames, one after the other.

    Args:
        engine: An open engine.
        images: (H, W, 3) uint8 BGR frames, used in turn.
        manifest: Of the engine's bundle.
        sinks: Where results go, entered by the caller.
        clock: Nanoseconds; every time but that of the CPU is read from it.
        sleep: Waits for seconds on that clock.
        cpu_clock: Nanoseconds of CPU that this process used.

    Attributes:
        without_mask: Kind of reason -> frames on which no mask may be drawn for it, the warm-up's
            included.
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
        """A frame taken through the device's own pipeline, stamped."""
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
        """Frames without end, as a load brings them, each with how many were overwritten before it."""
        number = 0
        pacer = Pacer(load.fps, self.clock, self.sleep) if load.fps else None
        while True:
            dropped, captured = pacer.wait() if pacer else (0, self.clock())
            number += dropped
            yield self.frame(number, captured), dropped
            number += 1

    def inference_ms(self) -> float:
        """Time of one inference, nothing around it."""
        begin = self.clock()
        self.engine.infer(self._prepared)
        return (self.clock() - begin) / 1e6

    def cpu_ms(self) -> float:
        """CPU time of the stages around inference: the stamps come from the process's CPU clock."""
        frame = Frame(0, self.images[0], 0)
        analyze(frame, self.engine, self.manifest, view=self._views[0], clock=self.cpu_clock)
        spans = [frame.stamps[stage] for stage in (Stage.PREPROCESS, Stage.POSTPROCESS)]
        return sum(end - begin for begin, end in spans) / 1e6

    def repeat(self, seconds: float, measure_once: Callable[[], float]) -> list[float]:
        """What `measure_once` gives again and again, at least once."""
        begin = self.clock()
        found = [measure_once()]
        while (self.clock() - begin) / 1e9 < seconds:
            found.append(measure_once())
        return found


def run_load(
    stream: Stream,
    load: Load,
    seconds: float,
    *,
    sample: Callable[[], Sample],
    newest: Callable[[], Sample] | None = None,
    settled: Callable[[float, Sample], bool] = lambda *_: False,
) -> Iterator[Begin | Second]:
    """Warm up and count frames, giving a line per second while it goes on.

    Args:
        stream: An engine with its frames.
        load: How they come.
        seconds: Time to count frames for.
        sample: Looks at the machine now; called before the first counted frame and after the last.
        newest: The newest look at the machine, taken without waiting, for the seconds between;
            `sample` by default.
        settled: Told the seconds since the beginning and a look at the machine; True ends the load.

    Raises:
        UsageError: `seconds` is not positive.
    """
    if not seconds > 0:
        raise UsageError(
            "the length of the run is not usable", expected="seconds > 0", got=f"{seconds}"
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
    """A few BGR frames of the phantom, half of them with a polyp.

    Drawn small and enlarged, which is fast: what a frame costs depends on its size, not on its
    detail.
    """
    import cv2

    from edge.datasets.phantom.render import render

    drawn = (render(seed, polyp=seed % 2 == 0).image[..., ::-1] for seed in range(_IMAGES))
    return [cast("ImageU8", cv2.resize(image, size[::-1])) for image in drawn]


def whole_ms(frame: Frame) -> float:
    """A frame's latency: from its capture to the end of its output."""
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
