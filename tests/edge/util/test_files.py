"""Files that do not fit, are devices, or are named twice."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.util.files import atomic_write, full_disk, naming, refuse_same_file


def test_a_device_is_written_to_and_never_replaced() -> None:
    with pytest.raises(OSError, match="/dev/full"):
        atomic_write(Path("/dev/full"), b"text")
    atomic_write(Path("/dev/null"), b"text")
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_file_that_does_not_fit_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr("edge.util.files.os.fsync", fail)
    with pytest.raises(OSError, match="no room") as caught:
        atomic_write(tmp_path / "a.json", b"{}")
    assert caught.value.filename == str(tmp_path / "a.json")
    assert full_disk(tmp_path / "a.json").exit_code == 11
    assert list(tmp_path.iterdir()) == []


def test_any_other_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cut") as caught, naming(tmp_path / "a"):
        raise OSError(errno.EIO, "cut")
    assert caught.value.filename == str(tmp_path / "a")


def test_outputs_and_inputs_are_different_files(tmp_path: Path) -> None:
    clip, link, hard = tmp_path / "clip", tmp_path / "link", tmp_path / "hard"
    clip.touch()
    link.symlink_to(clip)
    hard.hardlink_to(clip)
    for output in (clip, link, hard):
        with pytest.raises(UsageError, match="would be written"):
            refuse_same_file([output], [clip])
    with pytest.raises(UsageError, match="the same file"):
        refuse_same_file([tmp_path / "a", tmp_path / "x" / ".." / "a"])
    refuse_same_file([tmp_path / "a", tmp_path / "b"], [clip])
    refuse_same_file([Path("/dev/null"), Path("/dev/null")])
