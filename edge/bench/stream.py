"""Latency of a bundle on this machine: a single stream at the highest rate, stages stamped on every frame.

The next frame starts when the last is done; nothing overlaps. Frames take the way of `edge-difom run`. A frame's latency is the time from its pixels in
memory to its regions in frame coordinates, and its stages share their boundaries, so they sum to the whole.
"""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, cast

from edge.bench import percentiles
from edge.bench.environment import Guard, take_snapshot
from edge.bench.record import BenchReport, Measurement, Stage, WarmUp
from edge.device_info import memory_used_mb, read_device, versions
from edge.errors import UsageError
from edge.pipeline.analysis import analyse
from edge.preprocess import to_input
from edge.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.bench.environment import Snapshot, Verdict
    from edge.bundle import Bundle
    from edge.manifest import Accuracy, Manifest
    from edge.types import Engine, ImageU8

STAGES = ("preprocess", "infer", "postprocess")
PUBLISHED_SECONDS = 600.0
"""A run of fewer seconds is marked as such: its tail has seen too little of the machine's life."""

_WARM_RUNS, _WARM_SECONDS, _WARM_LIMIT_SECONDS = 10, 2.0, 20.0
_SETTLED_DRIFT = 0.02
_SIDE_RUN_SECONDS = 5.0
_IMAGES = 4


def run_bench(
    bundle: Bundle,
    *,
    engine: str = "auto",
    seconds: float = PUBLISHED_SECONDS,
    threads: int | None = None,
    size: tuple[int, int] = (1080, 1920),
    on_frame: Callable[[Frame], None] | None = None,
    snapshot: Callable[[], Snapshot] = take_snapshot,
) -> BenchReport:
    """Measure a bundle's engine on frames of the phantom.

    Args:
        bundle: An opened bundle.
        engine: `openvino`, `tflite`, `onnx` or `auto`.
        seconds: Time to count frames for, after the warm-up.
        threads: The engine's threads, its own choice by default.
        size: Height and width of the frames.
        on_frame: Called with every counted frame and its stamps, outside the measured time.
        snapshot: Where the environment guard reads the machine.

    Raises:
        UsageError: `seconds` is not positive, or there is no such engine.
        MissingDependencyError: The engine's runtime is not installed.
        BundleError: The bundle is damaged or has no such engine.
    """
    from edge.backends import open_engine

    _check_seconds(seconds)
    images = phantom_images(size)
    begin = time.perf_counter_ns()
    opened = open_engine(bundle, engine, threads=threads)
    compile_ms = (time.perf_counter_ns() - begin) / 1e6
    manifest = bundle.manifest
    accuracy = [row for row in manifest.accuracy if row.engine == f"{opened.name} int8"]
    try:
        measurement, verdict = measure(
            opened, images, manifest, seconds=seconds, on_frame=on_frame, snapshot=snapshot
        )
        settings = {**opened.settings(), "python_gc": gc.isenabled()}
    finally:
        opened.close()
    return BenchReport(
        **{name: getattr(measurement, name) for name in Measurement.__struct_fields__},
        valid=verdict.valid,
        reason=verdict.reason,
        unknown=verdict.unknown,
        publishable=verdict.valid and seconds >= PUBLISHED_SECONDS,
        notes=_notes(measurement, seconds, accuracy),
        other_cpu_per_core=verdict.other_cpu_per_core,
        bundle=manifest.name,
        digest=bundle.digest,
        engine=opened.name,
        frame_size=size,
        compile_ms=compile_ms,
        settings=settings,
        accuracy=accuracy,
        device=read_device(),
        versions=versions(),
    )


def phantom_images(size: tuple[int, int]) -> list[ImageU8]:
    """A few BGR frames of the phantom, half of them with a polyp.

    Drawn small and enlarged, which is fast: what a frame costs depends on its size, not on its detail.
    """
    import cv2

    from edge.phantom import render

    drawn = (render(seed, polyp=seed % 2 == 0).image[..., ::-1] for seed in range(_IMAGES))
    return [cast("ImageU8", cv2.resize(image, size[::-1])) for image in drawn]


def measure(
    engine: Engine,
    images: Sequence[ImageU8],
    manifest: Manifest,
    *,
    seconds: float,
    on_frame: Callable[[Frame], None] | None = None,
    snapshot: Callable[[], Snapshot] = take_snapshot,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[Measurement, Verdict]:
    """Measure an open engine.

    Args:
        engine: Not used since it was opened.
        images: (H, W, 3) uint8 BGR frames, used in turn.
        manifest: Of the engine's bundle.
        seconds: Time to count frames for.
        on_frame: Called with every counted frame, outside the measured time.
        snapshot: Where the environment guard reads the machine.
        clock: Nanoseconds; every time but that of the CPU is read from it.

    Returns:
        The figures, and what the guard says of the time in which they were taken.

    Raises:
        UsageError: `seconds` is not positive.
    """
    _check_seconds(seconds)
    stream = _Stream(engine, images, manifest, clock)
    first_ms = stream.inference_ms()
    warmup = _warm_up(stream, seconds)
    stages: dict[str, list[float]] = {name: [] for name in STAGES}
    total: list[float] = []
    with Guard(snapshot) as guard:
        begin = clock()
        while not total or (clock() - begin) / 1e9 < seconds:
            frame = stream.frame(len(total))
            for name in STAGES:
                stages[name].append(_took_ms(frame, name))
            total.append(_whole_ms(frame))
            if on_frame:
                on_frame(frame)
        elapsed = (clock() - begin) / 1e9
    side_run = min(seconds / 4, _SIDE_RUN_SECONDS)
    alone = stream.repeat(side_run, stream.inference_ms)
    cpu = stream.repeat(side_run, stream.cpu_ms)
    rss, peak = memory_used_mb()
    return (
        Measurement(
            samples=len(total),
            seconds=elapsed,
            latency_ms=percentiles.bounds(total),
            latency_empirical_ms=percentiles.quantiles(total),
            stages_ms={name: _stage(values) for name, values in stages.items()},
            first_inference_ms=first_ms,
            warmup=warmup,
            inference_only_ms=_stage(alone),
            preprocess_postprocess_cpu_ms=statistics.fmean(cpu),
            rss_mb=rss,
            peak_rss_mb=peak,
        ),
        guard.verdict,
    )


class _Stream:
    """An engine with its frames, one after the other."""

    def __init__(
        self, engine: Engine, images: Sequence[ImageU8], manifest: Manifest, clock: Callable[[], int]
    ) -> None:
        self.engine, self.images, self.manifest, self.clock = engine, images, manifest, clock
        self.prepared = to_input(images[0], engine.input_size, bgr=True)

    def frame(self, number: int) -> Frame:
        """A frame taken through the device's own pipeline, stamped."""
        frame = Frame(number, self.images[number % len(self.images)], self.clock())
        analyse(frame, self.engine, self.manifest, clock=self.clock)
        return frame

    def inference_ms(self) -> float:
        """Time of one inference, nothing around it."""
        begin = self.clock()
        self.engine.infer(self.prepared)
        return (self.clock() - begin) / 1e6

    def cpu_ms(self) -> float:
        """CPU time of the stages around inference: the stamps come from the process's CPU clock."""
        frame = Frame(0, self.images[0], 0)
        analyse(frame, self.engine, self.manifest, clock=time.process_time_ns)
        return _took_ms(frame, "preprocess") + _took_ms(frame, "postprocess")

    def repeat(self, seconds: float, measure_once: Callable[[], float]) -> list[float]:
        """What `measure_once` gives again and again, at least once."""
        begin = self.clock()
        found = [measure_once()]
        while (self.clock() - begin) / 1e9 < seconds:
            found.append(measure_once())
        return found


def _warm_up(stream: _Stream, seconds: float) -> WarmUp:
    """Run until the median of the last quarter differs by less than 2 % from the quarter before."""
    least = min(_WARM_SECONDS, seconds / 2)
    limit = max(least, min(_WARM_LIMIT_SECONDS, seconds))
    took: list[float] = []
    begin = stream.clock()
    while True:
        took.append(_whole_ms(stream.frame(len(took))))
        elapsed = (stream.clock() - begin) / 1e9
        if len(took) < _WARM_RUNS or elapsed < least:
            continue
        window = len(took) // 4
        before, last = statistics.median(took[-2 * window : -window]), statistics.median(took[-window:])
        drift = abs(last / before - 1)
        if drift < _SETTLED_DRIFT or elapsed >= limit:
            return WarmUp(
                runs=len(took),
                seconds=elapsed,
                drift=drift,
                settled=drift < _SETTLED_DRIFT,
                shortened=least < _WARM_SECONDS,
            )


def _whole_ms(frame: Frame) -> float:
    return (frame.stamps["postprocess"][1] - frame.stamps["preprocess"][0]) / 1e6


def _took_ms(frame: Frame, stage: str) -> float:
    begin, end = frame.stamps[stage]
    return (end - begin) / 1e6


def _stage(values: Sequence[float]) -> Stage:
    return Stage(
        mean=statistics.fmean(values),
        p50=percentiles.plain_quantile(values, 0.5),
        p99=percentiles.plain_quantile(values, 0.99),
    )


def _notes(measurement: Measurement, seconds: float, accuracy: list[Accuracy]) -> list[str]:
    notes = []
    if seconds < PUBLISHED_SECONDS:
        notes.append(f"a run of {seconds:g} s, shorter than the {PUBLISHED_SECONDS:g} s of a published one")
    if measurement.warmup.shortened:
        notes.append(f"the warm-up was shortened to {measurement.warmup.seconds:.1f} s")
    if not measurement.warmup.settled:
        notes.append(f"the latency still drifted by {measurement.warmup.drift:.1%} after the warm-up")
    if refused := [name for name, value in measurement.latency_ms.items() if value is None]:
        notes.append(f"{measurement.samples} frames are too few for {', '.join(refused)}")
    if not accuracy:
        notes.append("the bundle states no accuracy of this engine, without which a latency is half a figure")
    return notes


def _check_seconds(seconds: float) -> None:
    if not seconds > 0:
        raise UsageError("the length of the run is not usable", expected="seconds > 0", got=f"{seconds}")
