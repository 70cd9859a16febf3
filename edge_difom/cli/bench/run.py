"""`edge-difom bench run`: measure the latency of a bundle on this machine."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from edge_difom.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.bench.report.journal import Second
    from edge.bench.report.record import BenchReport
    from edge.datasets.pairs import Pair


@click.command(
    "run",
    short_help="Measure a bundle on this machine.",
    epilog=console.examples(
        "edge-difom bench run --bundle B --rate max --rate 30 --rate 60",
        "edge-difom bench run --bundle B --engine tflite --threads 2 --seconds 30 --json -",
        "edge-difom bench run --bundle B --soak 20 --profile device.json --out soak",
    ),
)
@options.bundle(required=True)
@options.engine()
@options.precision()
@click.option(
    "--rate",
    "rates",
    multiple=True,
    default=("max",),
    show_default=True,
    metavar="max|FPS",
    help="max: the next frame as soon as the last is done; FPS: frames at that rate. Repeatable; "
    "the "
    "rates are measured one after the other.",
)
@click.option(
    "--seconds",
    type=options.FiniteRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds to measure each rate for, after the warm-up.",
)
@click.option(
    "--soak",
    type=options.FiniteRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Measure for this long instead, or until the temperature is stable (after 10 minutes, a "
    "change "
    "under 0.5 C in 5 minutes).",
)
@options.threads()
@click.option(
    "--frame", default="1920x1080", show_default=True, metavar="WxH", help="Size of the frames."
)
@click.option(
    "--sink",
    "sinks",
    metavar="KIND[:PATH]",
    multiple=True,
    help="Sink as in `edge-difom run`; its time is the stage `output`. Repeatable. Default: none.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labeled images to score the measured engine on.",
)
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path),
    help="Profile of `edge-difom bench device`, to report the share of the machine's peak.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for record.jsonl, report.json, report.html and report.md. Default: "
    "runs/bench/TIME-BUNDLE-ENGINE.",
)
@click.option("--force", is_flag=True, help="Replace an earlier run in this folder.")
@click.option(
    "--require-valid",
    is_flag=True,
    help="End with exit code 7 if the measurement was disturbed; everything is written before.",
)
@console.json_option("Write the report as JSON here too; `-` prints it on stdout.")
def command(
    bundle_path: Path,
    engine: str,
    precision: str,
    rates: tuple[str, ...],
    seconds: float,
    soak: float | None,
    threads: int | None,
    frame: str,
    sinks: tuple[str, ...],
    data: Path | None,
    profile_path: Path | None,
    out: Path | None,
    force: bool,
    require_valid: bool,
    json_path: str | None,
) -> None:
    """Measure full frames in a single stream: 1080p in, regions out.

    The first line says VALID, or INVALID and the reason, such as load of other processes, swapping
    or throttling. Percentiles hold with 99 % confidence; a percentile with too few samples is shown
    as a dash. The record is written during the run, so `bench report` can report a killed run.
    """
    from edge.bench.measure.profiling import read_profile
    from edge.bench.measure.run import BenchOptions, run_bench
    from edge.bench.measure.stream import Load
    from edge.bench.report.journal import RECORD_NAME
    from edge.bundle.reader import Bundle
    from edge.sinks.open import open_sinks
    from edge_difom.cli.bench.show import refuse_invalid, show_report, write_reports

    loads = [Load.parse(rate) for rate in rates]
    size = _frame_size(frame)
    profile = read_profile(profile_path) if profile_path else None
    opened = open_sinks(sinks, force=force)
    bundle = Bundle.open(bundle_path)
    pairs, data_name = _pairs(data)
    folder = _prepare(out or _default_folder(bundle.manifest.name, engine), force=force)
    counted = soak * 60 if soak else seconds
    measured = BenchOptions(
        engine=engine,
        precision=precision,
        threads=threads,
        size=size,
        loads=loads,
        seconds=counted,
        soak=soak is not None,
        data=data_name,
        command=_command_line(click.get_current_context()),
    )
    with ExitStack() as stack:
        report = run_bench(
            bundle,
            measured,
            sinks=opened,
            pairs=pairs,
            profile=profile,
            record=folder / RECORD_NAME,
            on_second=_watcher(stack, counted * len(loads)),
        )
    show_report(report)
    written = write_reports(report, folder)
    if json_path:
        console.write_json(json_path, report)
    console.made(
        folder / RECORD_NAME, *written, *([json_path] if json_path and json_path != "-" else [])
    )
    if require_valid:
        refuse_invalid(report)
    console.next_command(_next(report, bundle_path, folder))


def _next(report: BenchReport, bundle_path: Path, folder: Path) -> str:
    if report.valid:
        return (
            f"edge-difom run --source synthetic: --bundle {console.quote(bundle_path)} "
            f"--engine {report.engine}"
        )
    return (
        f"edge-difom bench --bundle {console.quote(bundle_path)} --engine {report.engine} "
        f"--out {console.quote(folder)} --force"
    )


def _watcher(stack: ExitStack, seconds: float) -> Callable[[Second], None]:
    """A callback that shows the measured seconds as progress."""
    total = max(int(seconds), 1)
    progress = stack.enter_context(console.progress(total, "seconds measured"))
    last = 0

    def on_second(_: Second) -> None:
        nonlocal last
        if last < total:
            last += 1
            progress.update()

    return on_second


def _frame_size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()) or not (int(width) and int(height)):
        raise UsageError("invalid frame size", expected="WIDTHxHEIGHT", got=text)
    return int(height), int(width)


def _pairs(data: Path | None) -> tuple[Sequence[Pair], str]:
    """Labeled images of a folder, and its name; a report must not show more of its path."""
    if data is None:
        return (), ""
    from edge.datasets.pairs import find_pairs

    return find_pairs(data), data.name


def _default_folder(bundle: str, engine: str) -> Path:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    return Path(os.environ.get("EDGE_DIFOM_RUNS", "runs")) / "bench" / f"{stamp}-{bundle}-{engine}"


def _prepare(folder: Path, *, force: bool) -> Path:
    """Create the folder, and remove the files of an earlier run.

    Raises:
        UsageError: It is not empty, and `force` is False.
    """
    from edge.bench.report.journal import RECORD_NAME
    from edge.util.files import refuse_existing
    from edge_difom.cli.bench.show import REPORTS

    refuse_existing(folder, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORD_NAME, *REPORTS):
        (folder / name).unlink(missing_ok=True)
    return folder


def _command_line(context: click.Context) -> str:
    """The command that repeats this run, with its options in their long form."""
    words = ["edge-difom", "bench", "run"]
    for parameter in context.command.params:
        name = parameter.name or ""
        origin = context.get_parameter_source(name)
        if (
            origin is None
            or origin.name == "DEFAULT"
            or name in (*("out", "json_path", "force", "require_valid"),)
        ):
            continue
        value = context.params[name]
        for item in value if isinstance(value, tuple) else (value,):
            # A report must not show where the images lie.
            words += [parameter.opts[0], item.name if name == "data" else str(item)]
    return shlex.join(words)
