"""Measure bundles x engines x precisions x threads, each cell in its own process."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.bench.report.charts import KINDS
from edge.bench.report.compare import load_reports
from edge.bench.report.journal import RECORD_NAME
from edge.errors import DataError, UsageError
from edge.record_header import RecordHeader, make_header
from edge.reports.drawing import Chart, Scale
from edge.reports.html import render
from edge.util.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.bench.report.record import BenchReport

_MESSAGE_LINES = 3


class Cell(NamedTuple):
    """One run of a matrix."""

    bundle: Path
    engine: str
    precision: str
    threads: int

    @property
    def name(self) -> str:
        """Name of the cell and of its folder."""
        bundle = self.bundle.name.removesuffix(".difom")
        return f"{bundle}-{self.engine}-{self.precision}-{self.threads}"


class MatrixRow(msgspec.Struct, frozen=True, kw_only=True):
    """One load of one cell.

    Attributes:
        cell: Name of the cell.
        bundle: Name of the bundle.
        engine: Engine of the cell.
        precision: Precision of the cell.
        threads: Threads of the cell.
        load: Name of the load.
        valid: Whether the environment guard saw no disturbance.
        p50_ms: Plain quantile of the whole-frame latency.
        p99_ms: Percentile with 99 % confidence; None with too few samples.
        cpu_ms: CPU time of the process per frame.
        peak_rss_mb: Peak resident memory, MiB.
        share_of_peak: Share of the engine's peak speed on this machine; None without a profile.
        dice: Dice on `dataset`; None if unknown.
        dice_ci95: 95 % interval of `dice`.
        dataset: Data set of the report's last accuracy row.
        front: Whether no other valid row of the load has both a higher Dice and less CPU time.
        digest: SHA-256 of the bundle's manifest; empty in records of older versions.
    """

    cell: str
    bundle: str
    engine: str
    precision: str
    threads: int
    load: str
    valid: bool
    p50_ms: float | None
    p99_ms: float | None
    cpu_ms: float
    peak_rss_mb: float | None
    share_of_peak: float | None
    dice: float | None
    dice_ci95: tuple[float, float] | None
    dataset: str | None
    front: bool = False
    digest: str = ""


class MatrixReport(msgspec.Struct, frozen=True, kw_only=True):
    """A matrix of runs.

    Attributes:
        rows: One row per cell and load.
        failed: Cell -> why it has no row.
        device: Description of the machine.
        header: What the record is of; its rows name the bundles and engines.
    """

    rows: list[MatrixRow]
    failed: dict[str, str]
    device: str
    header: RecordHeader | None = None


def run_cell(command: Sequence[str], cell: Cell, folder: Path, options: Sequence[str]) -> None:
    """Measure one cell in a separate process.

    Args:
        command: Command line that runs `bench run`.
        cell: The cell to measure.
        folder: Folder for its record and reports; replaced if it exists.
        options: More options of `bench run`.

    Raises:
        DataError: The process failed; the error quotes the end of its output.
    """
    arguments = [
        *(*command, "--bundle", str(cell.bundle)),
        *("--engine", cell.engine, "--precision", cell.precision, "--threads", str(cell.threads)),
        *("--out", str(folder), "--force", *options),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        messages = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise DataError(f"{cell.name} was not measured", got=" / ".join(messages[-_MESSAGE_LINES:]))


def run_matrix(
    cells: Sequence[Cell],
    out: Path,
    *,
    options: Sequence[str] = (),
    resume: bool = False,
    execute: Callable[[Cell, Path, Sequence[str]], None],
    done: Callable[[str], None] = lambda _: None,
) -> MatrixReport:
    """Measure every cell and write matrix.json and matrix.html beside the cells' folders.

    Args:
        cells: The cells, in the order in which they are measured.
        out: Output folder.
        options: Options of `bench run` for every cell.
        resume: Keep cells whose run is complete.
        execute: Measures one cell.
        done: Called with the name of each cell after it was measured.

    Raises:
        UsageError: There is no cell, or two cells have the same name.
        DataError: No cell could be measured.
    """
    names = [cell.name for cell in cells]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            "the cells of the matrix are not usable",
            expected="different names",
            got=", ".join(names),
        )
    reports: dict[Cell, BenchReport] = {}
    failed: dict[str, str] = {}
    for cell in cells:
        folder = out / cell.name
        try:
            record = (
                load_reports(folder)[0] if resume and (folder / RECORD_NAME).is_file() else None
            )
            if record is None or not record.complete:
                execute(cell, folder, options)
                record = load_reports(folder)[0]
            reports[cell] = record
        except DataError as error:
            failed[cell.name] = error.got or error.what
        done(cell.name)
    if not reports:
        raise DataError(
            "no cell of the matrix was measured", got="; ".join(map(": ".join, failed.items()))
        )
    device = next(iter(reports.values())).device
    report = MatrixReport(
        rows=mark_front(
            [row for cell, cell_report in reports.items() for row in _rows(cell, cell_report)]
        ),
        failed=failed,
        device=f"{device.board or device.cpu or device.architecture}, {device.usable_cores} cores",
        header=make_header(),
    )
    write_json(out / "matrix.json", report)
    return report


def mark_front(rows: Sequence[MatrixRow]) -> list[MatrixRow]:
    """Mark the rows on the Pareto front of Dice against CPU time, including ties."""

    def is_dominated(row: MatrixRow) -> bool:
        assert row.dice is not None
        return any(
            other.valid
            and other.load == row.load
            and other.dice is not None
            and (other.dice, -other.cpu_ms) != (row.dice, -row.cpu_ms)
            and other.dice >= row.dice
            and other.cpu_ms <= row.cpu_ms
            for other in rows
        )

    return [
        msgspec.structs.replace(
            row, front=row.valid and row.dice is not None and not is_dominated(row)
        )
        for row in rows
    ]


def matrix_page(report: MatrixReport) -> str:
    """Render the page as HTML.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    engines = list(dict.fromkeys(row.engine for row in report.rows))
    loads = list(dict.fromkeys(row.load for row in report.rows))
    pictures = {
        load: _picture([row for row in report.rows if row.load == load], engines) for load in loads
    }
    return render("matrix.html.j2", report=report, pictures=pictures, engines=engines, kinds=KINDS)


def _picture(rows: Sequence[MatrixRow], engines: Sequence[str]) -> str:
    """Draw Dice against CPU time, dots numbered like the table's rows; empty without any Dice."""
    points = [(number, row, row.dice) for number, row in enumerate(rows, 1) if row.dice is not None]
    if not points:
        return ""
    ends = [end for _, row, _ in points for end in (row.dice_ci95 or ())] or [
        dice for *_, dice in points
    ]
    chart = Chart(
        Scale.over([row.cpu_ms for _, row, _ in points], log=True),
        Scale.over(ends),
        x_label="CPU ms per frame",
        y_label="Dice",
        height=340,
    )
    front = sorted((row.cpu_ms, dice) for _, row, dice in points if row.front)
    chart.line(front, "front", step=True)
    for number, row, dice in points:
        kind = KINDS[engines.index(row.engine) % len(KINDS)]
        if row.dice_ci95:
            chart.line([(row.cpu_ms, end) for end in row.dice_ci95], kind)
        chart.dots([(row.cpu_ms, dice)], kind, radius=6 if row.front else 4)
        chart.note(row.cpu_ms, dice, str(number), push=9, lift=-4)
    return chart.svg("Dice against CPU time, with the Pareto front")


def _rows(cell: Cell, report: BenchReport) -> list[MatrixRow]:
    accuracy = report.accuracy[-1] if report.accuracy else None
    return [
        MatrixRow(
            cell=cell.name,
            bundle=report.bundle,
            digest=report.digest,
            engine=report.engine,
            precision=report.precision,
            threads=cell.threads,
            load=load.load,
            valid=load.valid,
            p50_ms=load.latency_empirical_ms["p50"],
            p99_ms=load.latency_ms["p99"],
            cpu_ms=load.cpu_ms_per_frame,
            peak_rss_mb=report.peak_rss_mb,
            share_of_peak=report.share_of_peak,
            dice=accuracy.dice if accuracy else None,
            dice_ci95=accuracy.dice_ci95 if accuracy else None,
            dataset=accuracy.dataset if accuracy else None,
        )
        for load in report.loads
    ]
