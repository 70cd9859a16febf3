"""The log shows every change of its past, outlasts a power cut and goes on over its rotations."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_difom.cli.main import main
from firmware_bridge.fleet.slots.audit import HEAD, LOG, AuditLog
from firmware_bridge.fleet.slots.audit_chain import BROKEN

if TYPE_CHECKING:
    from pathlib import Path


def log_in(folder: Path, **options: int) -> AuditLog:
    return AuditLog(folder, now=lambda: datetime(2031, 1, 1, tzinfo=timezone.utc), **options)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    audit = log_in(tmp_path)
    for version in range(1, 6):
        audit.append("installed", version=version, slot="a")
    return audit


def test_an_untouched_log_holds(log: AuditLog) -> None:
    report = log.verify()
    assert report.ok
    assert report.records == 5
    assert report.head is not None
    assert report.head.n == 5
    assert [record.detail["version"] for record in log.records()] == [1, 2, 3, 4, 5]
    assert {record.at for record in log.records()} == {"2031-01-01T00:00:00+00:00"}


@given(st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_found(log: AuditLog, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / LOG
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    other = bytes([content[place] ^ data.draw(st.integers(1, 255))])
    try:
        path.write_bytes(content[:place] + other + content[place + 1 :])
        assert not log.verify().ok
    finally:
        path.write_bytes(content)
    assert log.verify().ok


@pytest.mark.parametrize(
    "lines", [[0, 1, 2, 3], [0, 1, 3, 4], [1, 2, 3, 4], [0, 2, 1, 3, 4], [0, 0, 1, 2, 3, 4], []]
)
def test_a_line_cut_off_left_out_moved_or_doubled_is_found(
    log: AuditLog, tmp_path: Path, lines: list[int]
) -> None:
    path = tmp_path / LOG
    lines_before = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines_before[n] for n in lines))
    assert not log.verify().ok


def test_a_missing_head_is_found(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / HEAD).unlink()
    assert not log.verify().ok


def test_tampering_stays_found_after_the_next_record(log: AuditLog, tmp_path: Path) -> None:
    """What was tampered with stays found after the next record."""
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes().replace(b'"version":3', b'"version":9'))
    log.append("installed", version=6)
    assert any("record 4 does not follow record 3" in problem for problem in log.verify().problems)


@pytest.mark.parametrize("left", [4, 3, 1, 0])
def test_records_cut_off_stay_found_for_ever(log: AuditLog, tmp_path: Path, left: int) -> None:
    path = tmp_path / LOG
    lines_before = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines_before[:left]))
    problems = log.verify().problems
    for version in range(6, 9):
        log.append("installed", version=version)
        report = log.verify()
        assert not report.ok
        assert any("tampering was found before record" in problem for problem in report.problems)
    assert any("the log ended with record 5" in problem for problem in problems)
    broken = [record for record in log.records() if record.event == BROKEN]
    assert [record.detail["head"] for record in broken] == [5]
    assert [record.detail.get("version") for record in log.records()][-3:] == [6, 7, 8]


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"n":2,"digest":"0"}'])
def test_a_head_that_was_taken_or_changed_stays_found(
    log: AuditLog, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / HEAD).unlink()
    if content is not None:
        (tmp_path / HEAD).write_bytes(content)
    assert not log.verify().ok
    log.append("installed", version=6)
    log.append("installed", version=7)
    assert not log.verify().ok


def test_a_break_outlives_the_file_that_told_it(tmp_path: Path) -> None:
    log = log_in(tmp_path, limit=300, keep=2)
    log.append("installed", version=1)
    log.append("installed", version=2)
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    for version in range(3, 40):
        log.append("installed", version=version)
    assert BROKEN not in {record.event for record in log.records()}
    assert any("breaks of the log" in problem for problem in log.verify().problems)


@pytest.mark.parametrize(
    "forged",
    [
        b'{"n":6,"at":"x","event":"log-dropped","detail":{"last":"six"},"prev":"0"}',
        b'{"n":6,"at":"x","event":"log-dropped","detail":{"last":-1,"breaks":"9"},"prev":"0"}',
        b'{"n":"six","at":"x","event":"installed","prev":"0"}',
        b'{"n":1e400,"at":"x","event":"installed","prev":"0"}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"n":6,"at":"\\u001b[2J","event":"\\u001b]0;x\\u0007","detail":{"a":"\\r"},"prev":"0"}',
    ],
)
def test_a_forged_record_is_an_error_message(
    log: AuditLog, tmp_path: Path, forged: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes() + forged + b"\n")
    assert not log.verify().ok
    with pytest.raises(SystemExit) as ended:
        main(["device", "status", "--state", str(tmp_path)])
    assert ended.value.code == 4
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    assert "the log was tampered with" in output.err
    assert "\x1b" not in output.out + output.err
    log.append("installed", version=6)
    assert not log.verify().ok


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "large"])
@pytest.mark.parametrize("name", [LOG, "audit.9x.jsonl"])
def test_a_file_of_the_log_that_is_none_is_an_error_message(
    log: AuditLog, tmp_path: Path, kind: str, name: str
) -> None:
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        with path.open("wb") as file:
            file.truncate(100 << 20)
    report = log.verify()
    assert not report.ok
    assert any("cannot be read" in problem for problem in report.problems)
    assert log.records() == []
    with pytest.raises(OSError, match=r"audit|directory"):
        log.append("installed", version=6)


@pytest.mark.row(37, "a record cut at every byte of it")
def test_a_half_written_record_is_taken_off(log: AuditLog, tmp_path: Path) -> None:
    path, head = tmp_path / LOG, tmp_path / HEAD
    before, head_before = path.read_bytes(), head.read_bytes()
    log.append("rolled-back", reason="by hand")
    after = path.read_bytes()
    for cut in range(len(before), len(after), 7):
        path.write_bytes(after[:cut])
        head.write_bytes(head_before)
        assert log.verify().ok
        log.append("rolled-back", reason="again")
        assert log.verify().ok
        assert [record.n for record in log.records()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.row(42, "the log rotated many times")
def test_rotation_keeps_the_chain(tmp_path: Path) -> None:
    log = log_in(tmp_path, limit=300, keep=2)
    for version in range(1, 40):
        log.append("installed", version=version)
        report = log.verify()
        assert report.ok, report.problems
    numbers = [record.n for record in log.records()]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] > 1
    assert len(list(tmp_path.glob("audit.*.jsonl"))) == 2
    assert "log-dropped" in {record.event for record in log.records()}


def test_a_file_taken_out_of_a_rotated_log_is_found(tmp_path: Path) -> None:
    log = log_in(tmp_path, limit=300, keep=4)
    for version in range(1, 20):
        log.append("installed", version=version)
    aside = sorted(tmp_path.glob("audit.*.jsonl"))
    for path in aside:
        data = path.read_bytes()
        path.unlink()
        assert not log.verify().ok
        path.write_bytes(data)
    assert log.verify().ok


def test_an_empty_log_holds(tmp_path: Path) -> None:
    report = log_in(tmp_path).verify()
    assert report.ok
    assert report.head is None
