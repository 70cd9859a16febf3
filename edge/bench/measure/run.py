"""Measure a bundle's engine: open it, check it, time it under each load, and write the record."""

from __future__ import annotations

import gc
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from edge.bench.measure.operations import bundle_work
from edge.bench.measure.sampler import Sampler, Soak
from edge.bench.measure.sensors import machine_settings
from edge.bench.measure.stream import Load, Stream, phantom_images, run_load
from edge.bench.report.journal import Aside, BenchJournal, End, Header, Second
from edge.bench.report.record import BenchReport, GoldenCheck
from edge.bench.report.summary import summarize
from edge.bundle.manifest import Accuracy
from edge.engines.scoring import score_image
from edge.errors import UsageError
from edge.util.host import memory_used_mb, read_device, versions
from edge.util.process_env import one_opencv_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.bench.report.profile_record import DeviceProfile
    from edge.bundle.reader import Bundle
    from edge.contracts import Engine, Sink
    from edge.datasets.pairs import Pair

_SIDE_RUN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is measured, and for how long.

    Attributes:
        engine: `openvino`, `tflite`, `onnx` or `auto`.
        precision: `int8`, `f32` or `bf16`.
        threads: Threads of the engine; by default all usable cores.
        size: Height and width of the frames.
        loads: Loads to run, one after the other.
        seconds: Time to count frames under each load, after its warm-up.
        soak: End a load early when the machine's temperature has settled.
        data: Description of the labeled images, for the report.
        command: Command that repeats the run, for the report.

    Raises:
        UsageError: `seconds` is not positive, or there is no load.
    """

    engine: str = "auto"
    precision: str = "int8"
    threads: int | None = None
    size: tuple[int, int] = (1080, 1920)
    loads: Sequence[Load] = (Load("max", None),)
    seconds: float = 600.0
    soak: bool = False
    data: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if not self.loads or not 0 < self.seconds < math.inf:
            raise UsageError(
                "the run has no duration",
                expected="a load, and seconds > 0",
                got=f"{self.seconds} s",
            )


def run_bench(
    bundle: Bundle,
    options: BenchOptions,
    *,
    sinks: Sequence[Sink] = (),
    pairs: Sequence[Pair] = (),
    profile: DeviceProfile | None = None,
    record: Path | None = None,
    on_second: Callable[[Second], None] | None = None,
    sampler: Sampler | None = None,
) -> BenchReport:
    """Measure a bundle's engine on frames of the phantom.

    Args:
        bundle: An opened bundle.
        options: What is measured, and for how long.
        sinks: Outputs of the results; entered and closed here.
        pairs: Labeled images on which this engine is scored, besides the bundle's own figures.
        profile: Peak performance of the machine.
        record: File to which the run writes its lines as it goes; must not exist.
        on_second: Called with the line of every second.
        sampler: Samples the state of the machine.

    Raises:
        UsageError: There is no such engine.
        MissingDependencyError: The engine's runtime is not installed.
        BundleError: The bundle is damaged or has no such engine.
        DataError: A pair cannot be used.
    """
    from edge.engines.open import open_engine
    from edge.inference.isolated import try_out

    engine, precision, threads = options.engine, options.precision, options.threads
    images = phantom_images(options.size)
    # The engine runs in this process, so that its times and its memory are its own. A file that
    # crashes its runtime does so before, in a process of its own.
    try_out(bundle, engine, threads=threads, precision=precision)
    begin = time.perf_counter_ns()
    opened = open_engine(bundle, engine, threads=threads, precision=precision)
    compile_ms = (time.perf_counter_ns() - begin) / 1e6
    with ExitStack() as stack:
        stack.enter_context(one_opencv_thread())
        stack.callback(opened.close)
        looker = stack.enter_context(sampler or Sampler())
        for sink in sinks:
            stack.enter_context(sink)
        stream = Stream(opened, images, bundle.manifest, sinks=sinks)
        first_ms = stream.inference_ms()
        name = f"{opened.name} {precision}"
        header = Header(
            seconds=options.seconds,
            bundle=bundle.manifest.name,
            digest=bundle.digest,
            engine=opened.name,
            precision=precision,
            threads=threads,
            frame_size=options.size,
            compile_ms=compile_ms,
            first_inference_ms=first_ms,
            settings={**opened.settings(), "python_gc": gc.isenabled()},
            accuracy=_accuracy(bundle, opened, name, pairs, options.data),
            parity=[row for row in bundle.manifest.parity if name in (row.left, row.right)],
            golden=_golden(bundle, opened) if precision == "int8" else None,
            work=bundle_work(bundle),
            profile=profile,
            machine=machine_settings(),
            sensors_missing=looker.sensors.missing,
            energy_range=looker.sensors.energy_range,
            device=read_device(),
            versions=versions(),
            command=options.command,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        journal = stack.enter_context(BenchJournal(record))
        journal.add(header)
        measure(
            stream,
            journal,
            options.loads,
            options.seconds,
            looker,
            soak=options.soak,
            on_second=on_second,
        )
    return summarize(journal.lines)


def measure(
    stream: Stream,
    journal: BenchJournal,
    loads: Sequence[Load],
    seconds: float,
    sampler: Sampler,
    *,
    soak: bool = False,
    on_second: Callable[[Second], None] | None = None,
) -> None:
    """Run the loads and the measurements after them; write to a journal that has its header.

    Args:
        stream: An engine with its frames, after its first inference.
        journal: The journal to write to.
        loads: Loads to run, one after the other.
        seconds: Time to count frames under each load.
        sampler: Samples the state of the machine.
        soak: End a load early when the temperature has settled.
        on_second: Called with the line of every second, outside the measured time.
    """
    notes = []
    for load in loads:
        settled = Soak().settled if soak else lambda *_: False
        elapsed = 0.0
        for line in run_load(
            stream, load, seconds, sample=sampler.sample, newest=sampler.newest, settled=settled
        ):
            journal.add(line)
            if isinstance(line, Second):
                elapsed = line.at_ns / 1e9
                if on_second:
                    on_second(line)
        if elapsed < seconds:
            notes.append(
                f"load {load.name}: ended after {elapsed:.0f} s, when the temperature had settled"
            )
    side_run = min(seconds / 4, _SIDE_RUN_SECONDS)
    journal.add(
        Aside(
            inference_ms=stream.repeat(side_run, stream.inference_ms),
            around_cpu_ms=stream.repeat(side_run, stream.cpu_ms),
            peak_rss_mb=memory_used_mb()[1],
        )
    )
    notes += [
        f"{count} frames gave no mask: {kind}"
        for kind, count in sorted(stream.without_mask.items())
    ]
    journal.add(End(notes=notes))


def _accuracy(
    bundle: Bundle, engine: Engine, name: str, pairs: Sequence[Pair], data: str
) -> list[Accuracy]:
    """Return the bundle's own accuracy of this engine, and the accuracy measured here."""
    rows = [row for row in bundle.manifest.accuracy if row.engine == name]
    if not pairs:
        return rows
    from edge.evaluation.evaluator import evaluate

    report = evaluate(
        pairs,
        partial(score_image, engine),
        point=bundle.manifest.output.point,
        rule=bundle.manifest.input.field_of_view,
    )
    if report.dice is None or report.iou is None or report.dice_ci95 is None:
        return rows
    measured = Accuracy(
        dataset=f"{data}, scored in this run",
        engine=name,
        n=report.n,
        dice=report.dice,
        iou=report.iou,
        dice_ci95=report.dice_ci95,
        negatives=report.negatives.n,
        flagged=report.negatives.flagged,
    )
    return [*rows, measured]


def _golden(bundle: Bundle, engine: Engine) -> GoldenCheck | None:
    from edge.engines.golden_check import check_golden

    frames = [check_golden(bundle, engine, golden) for golden in bundle.manifest.golden.frames]
    if not frames:
        return None
    return GoldenCheck(
        frames=len(frames),
        ok=all(frame.ok for frame in frames),
        worst_iou=min((frame.iou for frame in frames if frame.iou is not None), default=None),
        mean_difference=max(frame.mean_difference for frame in frames),
    )
