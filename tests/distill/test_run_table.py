"""The table of runs, from their files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from distill.run_table import RunRow, read_runs, sort_runs
from edge.errors import UsageError
from edge_difom.cli.main import main
from edge_difom.cli.runs import COLUMNS, DESCENDING

if TYPE_CHECKING:
    from pathlib import Path


def write_run(folder: Path, *dice: float, student: str = "edge-s", cut: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "resolved.yaml").write_text(
        f"student: {student}\nrecipe: difom\nsize: 64\nepochs: 9\nseed: 3\ndata: [/some/kvasir]\n"
    )
    rows = [
        {"epoch": epoch, "dice_val": value, "score": value, "seconds": 2.0 * epoch}
        for epoch, value in enumerate(dice, start=1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text + cut)


def write_quantized(run: Path, gate: dict[str, list[str]]) -> None:
    (run / "qat8").mkdir()
    (run / "qat8" / "resolved.yaml").write_text("bits: 8\n")
    rows = [
        {"step": "f32", "dice": 0.9},
        {"step": "openvino int8", "dice": 0.8},
        {"step": "tflite int8", "dice": 0.7},
    ]
    (run / "qat8" / "report.json").write_text(json.dumps({"accuracy": rows, "gate": gate}))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    write_run(root / "distill" / "a", 0.1, 0.6, 0.5)
    write_run(root / "distill" / "b", 0.7, student="unet", cut='{"epoch": 1, "dice')
    write_run(root / "c")
    write_quantized(root / "distill" / "a", {"breaches": [], "undecided": ["x"]})
    return root


def test_runs_are_found_with_their_figures(runs: Path) -> None:
    rows = {row.run: row for row in read_runs(runs)}
    assert set(rows) == {"distill/a", "distill/b", "c"}
    first = rows["distill/a"]
    assert (first.student, first.epochs, first.of, first.best) == ("edge-s", 3, 9, 2)
    assert (first.dice, first.seconds, first.data) == (0.6, 6.0, "kvasir")
    assert (first.int8, first.gate) == (0.7, "undecided")
    assert (rows["distill/b"].epochs, rows["distill/b"].gate) == (1, ""), "the last line is cut"
    assert rows["c"].dice is None


def test_rows_sort_by_any_column_and_unknown_values_come_last(runs: Path) -> None:
    assert RunRow.__struct_fields__ == COLUMNS
    assert set(DESCENDING) < set(COLUMNS)
    rows = read_runs(runs)
    assert [row.run for row in sort_runs(rows, "dice", reverse=True)][:2] == [
        "distill/b",
        "distill/a",
    ]
    for column in COLUMNS:
        for reverse in (True, False):
            assert len(sort_runs(rows, column, reverse=reverse)) == 3
    assert sort_runs(rows, "dice")[-1].run == "c"
    with pytest.raises(UsageError, match="no column"):
        sort_runs(rows, "speed")


def test_the_command_prints_the_best_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs", str(runs), "--sort", "dice"])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["distill/b", "distill/a", "c"]
    assert lines[-1] == f"next: edge-difom compare {runs}/distill/a {runs}/distill/b"


def test_a_folder_without_runs_is_one_clear_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError):
            read_runs(folder)


def test_the_table_needs_no_torch(runs: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        f"from edge_difom.cli.main import main\nmain(['runs', {str(runs)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
