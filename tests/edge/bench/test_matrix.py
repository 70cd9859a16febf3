"""A matrix of runs: every cell runs once, failures have names, the Pareto front is right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.bench.report.journal import BenchJournal
from edge.bench.report.matrix import (
    Cell,
    MatrixReport,
    MatrixRow,
    mark_front,
    matrix_page,
    run_cell,
    run_matrix,
)
from edge.bundle import manifest as m
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BENCH_RUN = (sys.executable, "-m", "edge_difom", "bench", "run")
CELLS = [
    Cell(Path("B.difom"), engine, "int8", threads)
    for engine in ("openvino", "tflite")
    for threads in (1, 2)
]


def row(
    cell: str, dice: float | None, cpu_ms: float, *, load: str = "max", valid: bool = True
) -> MatrixRow:
    return MatrixRow(
        cell=cell,
        bundle=cell,
        engine="openvino",
        precision="int8",
        threads=1,
        load=load,
        valid=valid,
        p50_ms=cpu_ms,
        p99_ms=None,
        cpu_ms=cpu_ms,
        peak_rss_mb=100.0,
        share_of_peak=None,
        dice=dice,
        dice_ci95=None if dice is None else (dice - 0.01, dice + 0.01),
        dataset=None,
    )


def test_the_front_is_what_nothing_beats_in_both() -> None:
    rows = [
        row("cheap", 0.80, 2),
        row("beaten", 0.79, 3),
        row("good", 0.90, 5),
        row("twin", 0.90, 5),
        row("costly", 0.90, 6),
        row("unscored", None, 1),
        row("spoilt", 0.99, 1, valid=False),
        row("other load", 0.70, 9, load="60"),
    ]
    front = {cell_row.cell for cell_row in mark_front(rows) if cell_row.front}
    assert front == {"cheap", "good", "twin", "other load"}


def execute_into(
    bench_lines: Callable[..., list[Any]], ran: list[str]
) -> Callable[[Cell, Path, Sequence[str]], None]:
    def execute(cell: Cell, folder: Path, options: Sequence[str]) -> None:
        ran.append(cell.name)
        assert list(options) == ["--seconds", "5"]
        if cell == CELLS[3]:
            raise DataError("not measured", got="no such engine")
        accuracy = [
            m.Accuracy(dataset="d", engine="e", n=3, dice=0.8, iou=0.7, dice_ci95=(0.7, 0.9))
        ]
        with BenchJournal(folder / "record.jsonl") as journal:
            for line in bench_lines(
                [[2.0] * 40] * 5, engine=cell.engine, threads=cell.threads, accuracy=accuracy
            ):
                journal.add(line)

    return execute


def test_a_matrix_measures_every_cell_and_names_what_failed(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    ran: list[str] = []
    execute = execute_into(bench_lines, ran)
    report = run_matrix(CELLS, tmp_path, options=["--seconds", "5"], execute=execute)
    assert ran == ["B-openvino-int8-1", "B-openvino-int8-2", "B-tflite-int8-1", "B-tflite-int8-2"]
    assert [row.cell for row in report.rows] == ran[:3]
    assert report.failed == {"B-tflite-int8-2": "no such engine"}
    assert report.rows[0].dice == 0.8
    assert all(row.front for row in report.rows)
    assert msgspec.json.decode((tmp_path / "matrix.json").read_bytes(), type=MatrixReport) == report
    again = run_matrix(CELLS, tmp_path, options=["--seconds", "5"], execute=execute, resume=True)
    assert msgspec.structs.replace(again, header=report.header) == report
    assert ran[4:] == ["B-tflite-int8-2"]


def test_a_run_that_was_killed_is_measured_again(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    with BenchJournal(tmp_path / CELLS[0].name / "record.jsonl") as journal:
        for line in bench_lines([[2.0] * 40] * 2, ended=False):
            journal.add(line)
    ran: list[str] = []

    def execute(cell: Cell, folder: Path, _: Sequence[str]) -> None:
        (folder / "record.jsonl").unlink()
        execute_into(bench_lines, ran)(cell, folder, ["--seconds", "5"])

    assert run_matrix(CELLS[:1], tmp_path, execute=execute, resume=True).rows[0].valid
    assert ran == [CELLS[0].name]


def test_a_matrix_without_cells_or_with_none_measured_is_refused(tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise DataError("no", got="no engine")

    with pytest.raises(UsageError, match="cells"):
        run_matrix([], tmp_path, execute=fail)
    with pytest.raises(UsageError, match="different names"):
        run_matrix([CELLS[0], CELLS[0]], tmp_path, execute=fail)
    with pytest.raises(DataError, match="no cell"):
        run_matrix(CELLS, tmp_path, execute=fail)


def test_the_page_draws_dice_against_cpu() -> None:
    rows = mark_front([row("cheap", 0.8, 2), row("good", 0.9, 5), row("bad", 0.7, 6)])
    page = matrix_page(MatrixReport(rows=rows, failed={"x": "<why>"}, device="d"))
    assert page.count("<svg") == 1
    assert page.count("<circle") == 3
    assert "front" in page
    assert "&lt;why&gt;" in page
    unscored = matrix_page(MatrixReport(rows=[row("a", None, 2)], failed={}, device="d"))
    assert "<svg" not in unscored


def test_a_cell_runs_in_a_process_of_its_own(tiny_bundle: Path, tmp_path: Path) -> None:
    cell = Cell(tiny_bundle, "tflite", "int8", 1)
    run_cell(BENCH_RUN, cell, tmp_path / "cell", ["--seconds", "0.2", "--frame", "160x120"])
    assert (tmp_path / "cell" / "report.json").is_file()
    with pytest.raises(DataError, match="not measured") as caught:
        run_cell(BENCH_RUN, cell._replace(precision="f32"), tmp_path / "none", [])
    assert "f32" in caught.value.got
