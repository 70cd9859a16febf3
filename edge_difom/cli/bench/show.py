"""The report of a measurement, on the console and in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import LatencyError, MissingDependencyError
from edge.util.files import atomic_write
from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.bench.report.record import BenchReport, LoadReport

REPORTS = ("report.json", "report.md", "report.html")


def write_reports(report: BenchReport, folder: Path) -> list[Path]:
    """Write the report in every format; without jinja2 the HTML page is skipped with a warning.

    Args:
        report: The report.
        folder: Folder to write; created if necessary.

    Returns:
        The files that were written.
    """
    from edge.bench.report.markdown import markdown_report
    from edge.bench.report.page import report_page
    from edge.bench.report.summary import encode_report

    makers: tuple[Callable[[BenchReport], str | bytes], ...] = (
        encode_report,
        markdown_report,
        report_page,
    )
    written = []
    for name, make in zip(REPORTS, makers, strict=True):
        try:
            content = make(report)
        except MissingDependencyError as error:
            console.warn(f"{name} is skipped: {error.what} ({error.hint})")
            continue
        atomic_write(folder / name, content)
        written.append(folder / name)
    return written


def show_report(report: BenchReport) -> None:
    """Print the report; the first line says whether the measurement is valid."""
    console.say("VALID" if report.valid else f"INVALID: {report.reason}")
    console.say(
        f"{report.bundle} in {report.engine} {report.precision}, "
        f"frames of {report.frame_size[1]}x{report.frame_size[0]}"
    )
    for note in report.notes:
        console.say(f"note: {note}")
    if report.unknown:
        console.say(f"not readable on this machine: {', '.join(report.unknown)}")
    for row in report.loads:
        _show_load(row)
    if report.accuracy:
        console.say()
        console.table(
            ["accuracy", "engine", "Dice", "n"],
            [[row.dataset, row.engine, row.dice, row.n] for row in report.accuracy],
        )
    console.say()
    alone = report.inference_only_ms
    golden = report.golden
    rows: list[list[object]] = [
        ["inference only, p50 ms", alone.p50 if alone else None],
        ["preprocess + postprocess, CPU ms per frame", report.preprocess_postprocess_cpu_ms],
        ["opening and compiling, ms", report.compile_ms],
        ["first inference, ms", report.first_inference_ms],
        ["peak resident memory, MiB", report.peak_rss_mb],
        ["share of the engine's peak", report.share_of_peak],
        ["golden frames within tolerance", ("yes" if golden.ok else "NO") if golden else None],
    ]
    console.table(["figure", "value"], rows)


def refuse_invalid(report: BenchReport) -> None:
    """Refuse a measurement that was disturbed, once everything is written.

    Raises:
        LatencyError: The report is not valid.
    """
    if not report.valid:
        raise LatencyError(
            "the measurement is not valid",
            expected="nothing that spoils the figures",
            got=report.reason or "an unknown disturbance",
            hint="measure again on an idle machine",
        )


def _show_load(load: LoadReport) -> None:
    console.say()
    pace = "highest rate" if load.load == "max" else f"{load.load} frames per second"
    console.say(
        f"{pace}: {load.samples} frames in {load.seconds:.1f} s, {load.dropped} overwritten"
    )
    console.table(
        ["latency, ms", *load.latency_ms],
        [
            ["plain quantile", *load.latency_empirical_ms.values()],
            ["upper bound, 99 % confidence", *load.latency_ms.values()],
        ],
    )
    console.table(
        ["stage, ms", "mean", "p50", "p99"],
        [[name, stage.mean, stage.p50, stage.p99] for name, stage in load.stages_ms.items()],
    )
    console.table(
        ["per frame", "value"],
        [
            ["CPU time, ms", load.cpu_ms_per_frame],
            ["memory growth, KiB", load.rss_growth_kib_per_frame],
            [f"energy, mJ ({load.energy_source or 'no meter'})", load.energy_mj_per_frame],
            ["retention, p50 of the last 60 s over the first", load.retention],
        ],
    )
