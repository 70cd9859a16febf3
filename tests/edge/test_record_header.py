"""What stands at the head of every record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge.record_header import commit, files_digest, make_header

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_digest_does_not_depend_on_names_or_order(tmp_path: Path) -> None:
    """A digest is of the files and not of their names or order."""
    paths = []
    for name, content in (("b", b"1"), ("a", b"2"), ("c", b"1")):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    digest = files_digest(paths)
    assert digest == files_digest(reversed(paths))
    assert digest != files_digest(paths[:2]), "an equal file counts again"
    paths[1].write_bytes(b"3")
    assert digest != files_digest(paths)


def test_the_command_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "rtsp://user:secret@host/live"
    monkeypatch.setattr("sys.argv", ["/usr/bin/edge-difom", "run", "--source", source])
    header = make_header(data=source)
    assert header.command == "edge-difom run --source rtsp://host/live"
    assert header.data == "rtsp://host/live"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", header.date)
    assert "cores" in header.machine


def test_the_commit_is_that_of_the_checkout_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    commit.cache_clear()
    digest = commit()
    assert digest is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", digest)
    monkeypatch.setattr("shutil.which", lambda _: None)
    commit.cache_clear()
    assert commit() is None
    commit.cache_clear()
