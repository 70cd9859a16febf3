"""What commands say, where it goes, and how records are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
from click.testing import CliRunner

from edge_difom.cli import console

if TYPE_CHECKING:
    from pathlib import Path


@click.command(epilog=console.examples("x one", "x two --long-option value", "x three"))
@console.json_option()
def sample(json_path: str | None) -> None:
    console.say("text")
    console.made("a.txt")
    console.next_command("x two")
    if json_path:
        console.write_json(json_path, {"a": 1})


def test_text_gives_way_to_json_on_stdout(tmp_path: Path) -> None:
    plain = CliRunner().invoke(sample, [])
    assert plain.stdout == "text\nmade: a.txt\nnext: x two\n"
    both = CliRunner().invoke(sample, ["--json", "-"])
    assert json.loads(both.stdout) == {"a": 1}
    assert both.stderr == plain.stdout
    file = CliRunner().invoke(sample, ["--json", str(tmp_path / "deep" / "r.json")])
    assert file.stdout == plain.stdout
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == {"a": 1}


def test_examples_keep_their_lines() -> None:
    help_text = CliRunner().invoke(sample, ["--help"]).output
    assert "  x one\n    x two --long-option value\n    x three" in help_text


def test_records_hold_numbers_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    console.write_json(
        path,
        {"f": np.float32(0.5), "n": np.int64(3), "a": np.arange(2), "p": path, "x": float("nan")},
    )
    assert json.loads(path.read_text()) == {
        "f": 0.5,
        "n": 3,
        "a": [0, 1],
        "p": str(path),
        "x": None,
    }


def test_a_record_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    console.write_json(path, {"a": 1})
    with pytest.raises(NotImplementedError, match="object"):
        console.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_tables_align_and_show_what_is_absent(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["name", "ms"], [["short", 1.25], ["a longer one", None], ["x", 1234]])
    assert capsys.readouterr().out.splitlines() == [
        "name            ms",
        "------------  ----",
        "short         1.25",
        "a longer one     -",
        "x             1234",
    ]
    console.table(["name"], [])
    assert capsys.readouterr().out == "name\n----\n"


def test_a_made_folder_has_a_slash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console.made(tmp_path)
    assert capsys.readouterr().out == f"made: {tmp_path}/\n"


def test_progress_off_a_terminal_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with console.progress(10, "frames") as bar:
        for _ in range(10):
            now[0] += 2.0
            bar.update(note="dice 0.5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "frames: 3/10, about 14 s left, dice 0.5",
        "frames: 6/10, about 8 s left, dice 0.5",
        "frames: 9/10, about 2 s left, dice 0.5",
        "frames: 10/10, in 20.0 s, dice 0.5",
    ]


def test_progress_on_a_terminal_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with console.progress(2, "frames") as bar:
        bar.update()
        bar.update(1, "dice 0.5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2" in captured.err
    assert "dice 0.5" in captured.err
