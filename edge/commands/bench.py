"""`edge-difom bench`: the latency of a bundle on this machine."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from edge import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.bench.record import BenchReport
    from edge.types import Frame


@click.command(
    "bench",
    short_help="Measure the latency of a bundle on this machine.",
    epilog=console.examples(
        "edge-difom bench --bundle B --seconds 600 --json bench.json",
        "edge-difom bench --bundle B --engine tflite --threads 2 --seconds 30",
        "edge-difom bench --bundle B --seconds 60 --samples frames.jsonl --json -",
    ),
)
@click.option("--bundle", "bundle_path", type=click.Path(path_type=Path), required=True, help="Bundle.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="openvino, tflite, onnx, or auto for the first that works.",
)
@click.option(
    "--seconds", type=float, default=600.0, show_default=True, help="Time to count frames for, after warm-up."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the engine; its own choice if not given."
)
@click.option(
    "--samples",
    "samples_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write each frame's stage times as it is measured, one JSON line each.",
)
@console.json_option()
def command(
    bundle_path: Path,
    engine: str,
    seconds: float,
    threads: int | None,
    samples_path: Path | None,
    json_path: str | None,
) -> None:
    """Measure whole frames, 1080p in and regions out, in a single stream at the highest rate.

    The first line says VALID, or INVALID and why: other processes' load, swapping, throttling. Percentiles hold
    with 99 % confidence; one that has too few samples for that is refused, and shown as a dash.
    """
    from edge.bench.stream import run_bench
    from edge.bundle import Bundle

    bundle = Bundle.open(bundle_path)
    with ExitStack() as stack:
        on_frame = _frame_watcher(stack, seconds, samples_path)
        report = run_bench(bundle, engine=engine, seconds=seconds, threads=threads, on_frame=on_frame)
    _show(report)
    if json_path:
        console.write_json(json_path, report)
    console.made(*(path for path in (json_path, samples_path) if path and path != "-"))
    console.next_command(
        f"edge-difom run --source synthetic: --bundle {bundle_path} --engine {report.engine}"
    )


def _frame_watcher(stack: ExitStack, seconds: float, samples_path: Path | None) -> Callable[[Frame], None]:
    """Counts whole seconds on the console, and keeps the samples of a run that is killed half way."""
    import msgspec

    progress = stack.enter_context(console.progress(max(int(seconds), 1), "seconds measured"))
    samples: BinaryIO | None = None
    begin, shown = 0.0, 0

    def on_frame(frame: Frame) -> None:
        nonlocal samples, begin, shown
        now = time.monotonic()
        begin = begin or now
        if samples_path:
            # Opened with the first frame, so that a run that cannot start leaves no file.
            samples = samples or stack.enter_context(samples_path.open("wb"))
            times = {name: end - start for name, (start, end) in frame.stamps.items()}
            line = {"frame": frame.index, "captured_ns": frame.captured_ns, "stages_ns": times}
            samples.write(msgspec.json.encode(line) + b"\n")
        if (whole := min(round(now - begin), int(seconds))) > shown:
            progress.update(whole - shown)
            shown = whole
            if samples:
                samples.flush()

    return on_frame


def _show(report: BenchReport) -> None:
    console.say("VALID" if report.valid else f"INVALID: {report.reason}")
    console.say(f"{report.bundle} in {report.engine}: {report.samples} frames of "
                f"{report.frame_size[1]}x{report.frame_size[0]} in {report.seconds:.1f} s")  # fmt: skip
    for note in report.notes:
        console.say(f"note: {note}")
    if report.unknown:
        console.say(f"not readable here: {', '.join(report.unknown)}")
    console.table(
        ["latency, ms", *report.latency_ms],
        [
            ["with 99 % confidence at most", *report.latency_ms.values()],
            ["plain quantile", *report.latency_empirical_ms.values()],
        ],
    )
    console.table(
        ["stage, ms", "mean", "p50", "p99"],
        [
            *([name, stage.mean, stage.p50, stage.p99] for name, stage in report.stages_ms.items()),
            [
                "inference alone",
                report.inference_only_ms.mean,
                report.inference_only_ms.p50,
                report.inference_only_ms.p99,
            ],
        ],
    )
    if report.accuracy:
        console.table(
            ["accuracy", "engine", "Dice", "n"],
            [[row.dataset, row.engine, row.dice, row.n] for row in report.accuracy],
        )
    console.table(
        ["also", "value"],
        [
            ["preprocess + postprocess, CPU ms per frame", report.preprocess_postprocess_cpu_ms],
            ["opening and compiling, ms", report.compile_ms],
            ["first inference, ms", report.first_inference_ms],
            ["resident memory, MiB", report.rss_mb],
        ],
    )
