"""The incremental record: what a killed run leaves, what is refused, and equal reports."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bench.report.journal import RECORD_NAME, BenchJournal, read_journal
from edge.bench.report.record import BenchReport
from edge.bench.report.summary import summarize
from edge.errors import DataError
from edge_difom.cli.bench.report import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = [[2.0, 2.5, 3.0, 2.0] * 10] * 5


def write(path: Path, lines: list[Any]) -> Path:
    with BenchJournal(path) as journal:
        for line in lines:
            journal.add(line)
    return path


def test_a_record_reads_back_as_it_was_written(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    lines = bench_lines(SECONDS)
    assert read_journal(write(tmp_path / RECORD_NAME, lines)) == lines
    assert read_journal(tmp_path) == lines


def test_every_line_is_in_the_file_before_the_run_ends(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    lines = bench_lines(SECONDS)
    with BenchJournal(tmp_path / RECORD_NAME) as journal:
        for number, line in enumerate(lines, 1):
            journal.add(line)
            assert len((tmp_path / RECORD_NAME).read_bytes().splitlines()) == number


@pytest.mark.parametrize(("full_lines", "left"), [(0, 0), (3, 3)])
def test_a_full_disk_names_the_record(
    bench_lines: Callable[..., list[Any]], tmp_path: Path, full_lines: int, left: int
) -> None:
    """A full disk names the record and leaves none without a header."""
    lines, path = bench_lines(SECONDS), tmp_path / RECORD_NAME
    room = sum(len(msgspec.json.encode(line)) + 1 for line in lines[:full_lines]) + 10
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as full:
            write(path, lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.value.errno == errno.EFBIG
    assert full.value.filename == str(path)
    assert path.exists() == bool(left)
    assert not left or len(read_journal(path)) == left


def test_a_record_is_never_overwritten(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    write(tmp_path / RECORD_NAME, bench_lines(SECONDS))
    with pytest.raises(FileExistsError), BenchJournal(tmp_path / RECORD_NAME):
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(share=st.floats(0, 1))
def test_a_truncated_record_gives_whole_seconds_or_an_error(
    bench_lines: Callable[..., list[Any]], tmp_path: Path, share: float
) -> None:
    data = b"\n".join(map(msgspec.json.encode, bench_lines(SECONDS))) + b"\n"
    path = tmp_path / "cut.jsonl"
    path.write_bytes(data[: round(share * len(data))])
    lines_left = path.read_bytes().count(b"\n")
    if lines_left < 3:
        with pytest.raises(DataError):
            summarize(read_journal(path))
        return
    report = summarize(read_journal(path))
    assert report.complete == (lines_left == 9)
    assert report.first.samples == 40 * min(lines_left - 2, 5)
    assert report.complete or any("did not come to its end" in note for note in report.notes)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"\xff\xfe\n", b'{"line":"end","notes":[]}\n', b"[1]\n2\n"]
)
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="record"):
        read_journal(path)
    with pytest.raises(DataError, match="no record"):
        read_journal(tmp_path / "nothing")


def test_report_gives_what_the_run_gave(
    bench_lines: Callable[..., list[Any]], tmp_path: Path
) -> None:
    lines = bench_lines(SECONDS, ended=False)
    record = write(tmp_path / "run" / RECORD_NAME, lines)
    result = CliRunner().invoke(command, [str(record)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "VALID"
    assert "did not come to its end" in result.stdout
    written = msgspec.json.decode((tmp_path / "run" / "report.json").read_bytes(), type=BenchReport)
    assert written == summarize(lines)
    assert {path.name for path in record.parent.iterdir()} == {
        RECORD_NAME,
        "report.json",
        "report.html",
        "report.md",
    }


def test_a_killed_run_leaves_a_record_that_makes_a_report(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """A run that is killed leaves a record that makes a report."""
    out = tmp_path / "run"
    arguments = [
        "--bundle",
        str(tiny_bundle),
        "--engine",
        "tflite",
        "--seconds",
        "600",
        "--frame",
        "160x120",
    ]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edge_difom",
            "bench",
            "run",
            *arguments,
            "--threads",
            "1",
            "--out",
            str(out),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if (out / RECORD_NAME).is_file() and (out / RECORD_NAME).read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    report = summarize(read_journal(out))
    assert not report.complete
    assert not report.publishable
    assert report.first.samples >= 1
    assert report.first.samples == sum(row.frames for row in report.first.series)
    assert report.engine == "tflite"
