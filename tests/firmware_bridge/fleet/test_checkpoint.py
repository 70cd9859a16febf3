"""A checkpoint kept elsewhere shows a log that was rewritten as a whole."""

from __future__ import annotations

import shutil
import stat
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge.errors import BundleError, DataError, UsageError
from edge_difom.cli.main import main
from firmware_bridge.fleet.slots import checkpoint
from firmware_bridge.fleet.slots.audit import HEAD, LOG, AuditLog

if TYPE_CHECKING:
    from pathlib import Path


def now() -> datetime:
    return datetime(2031, 1, 1, tzinfo=timezone.utc)


def grown(folder: Path, versions: range, **options: int) -> AuditLog:
    folder.mkdir(exist_ok=True)
    log = AuditLog(folder, now=now, **options)
    for version in versions:
        log.append("installed", version=version)
    return log


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_log_that_goes_on_holds_its_checkpoints(tmp_path: Path) -> None:
    key = tmp_path / "device.pem"
    public = checkpoint.make_key(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    log = grown(tmp_path / "state", range(3), limit=300, keep=2)
    points = []
    for version in range(3, 40):
        log.append("installed", version=version)
        points.append(checkpoint.export(log, now, "cart", key))
    # Of a dropped file its last record alone is known.
    assert not [p for point in points[-4:] for p in checkpoint.problems(log, point, public)]
    assert "is not in the log" in checkpoint.problems(log, points[0], public)[0]


@pytest.mark.parametrize("length", [2, 3, 9])
def test_a_rewritten_log_is_found(tmp_path: Path, length: int) -> None:
    state = tmp_path / "state"
    point = checkpoint.export(grown(state, range(3)), now, "cart", None)
    shutil.rmtree(state)
    log = grown(state, range(100, 100 + length))
    assert log.verify().ok, "its own chain cannot know"
    assert checkpoint.problems(log, point)


def test_a_signature_is_of_one_key_and_covers_everything(tmp_path: Path) -> None:
    public = checkpoint.make_key(tmp_path / "a.pem")
    other = checkpoint.make_key(tmp_path / "b.pem")
    log = grown(tmp_path / "state", range(3))
    point = checkpoint.export(log, now, "cart", tmp_path / "a.pem")
    assert checkpoint.problems(log, point, public) == []
    assert "not signed" in checkpoint.problems(log, point, other)[0]
    assert (
        "not signed" in checkpoint.problems(log, checkpoint.export(log, now, "", None), public)[0]
    )
    for change in ({"device": "x"}, {"at": "x"}, {"public_key": other}, {"signature": "AA=="}):
        changed = msgspec.structs.replace(point, **change)
        assert any("not signed" in problem for problem in checkpoint.problems(log, changed))
    with pytest.raises(UsageError, match="public key"):
        checkpoint.problems(log, point, "AAAA")


def test_a_broken_log_is_not_vouched_for(tmp_path: Path) -> None:
    log = grown(tmp_path / "state", range(3))
    (tmp_path / "state" / HEAD).unlink()
    with pytest.raises(BundleError, match="vouched"):
        checkpoint.export(log, now, "cart", None)
    with pytest.raises(BundleError, match="no record"):
        checkpoint.export(AuditLog(tmp_path, now=now), now, "cart", None)


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b"[" * 50_000, b"\xff", b"1\n" * 50_000])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "points"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no checkpoint"):
        checkpoint.read(path)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out, key = tmp_path / "state", tmp_path / "points", tmp_path / "device.pem"
    log = grown(state, range(3))
    assert status("device", "audit", "keygen", key) == 0
    public = capsys.readouterr().out.split("public key: ")[1].split()[0]
    assert status("device", "audit", "keygen", key) == 2
    for version in (3, 4):
        code = status("device", "audit", "export", "--state", state, "--key", key, "--out", out)
        assert code == 0
        log.append("installed", version=version)
    checked = ["device", "audit", "verify", out, "--state", state, "--public-key", public]
    assert status(*checked) == 0
    assert "2 checkpoints" in capsys.readouterr().out
    path = state / LOG
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    (state / HEAD).unlink()
    assert status(*checked) == 4
    assert "record 3 of the checkpoint is not in the log" in capsys.readouterr().err
