"""Files that do not fit, are devices, or are named twice."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.errors import BusyError, UsageError
from edge.util.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    atomic_dir,
    atomic_write,
    full_disk,
    locked,
    naming,
    refuse_same_file,
    remove_abandoned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_and_folders_keep_what_the_umask_withholds(umask: int, tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", b"text")
    atomic_write(tmp_path / "picture", b"text", mode=PRIVATE_FILE)
    with atomic_dir(tmp_path / "b") as folder:
        (folder / "c").touch()
    with atomic_dir(tmp_path / "pictures", mode=PRIVATE_FOLDER):
        pass
    assert permissions(tmp_path / "a") == 0o666 & ~umask
    assert permissions(tmp_path / "b") == 0o777 & ~umask
    assert permissions(tmp_path / "picture") == 0o600
    assert permissions(tmp_path / "pictures") == 0o700


def test_only_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    """Files of killed writers are removed and those of living ones kept."""
    code = (
        "import os, signal, sys; from pathlib import Path; from edge.util import files; "
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL); "
        "files.atomic_write(Path(sys.argv[1]), b'x' * 1000)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "k.blob"], check=False)
    (left,) = tmp_path.iterdir()
    remove_abandoned(tmp_path, "*.blob")
    assert left.exists(), "it may be a living writer's"
    os.utime(left, (0, 0))
    (tmp_path / "k.blob").touch()
    (tmp_path / ".other.12345678").touch()
    os.utime(tmp_path / ".other.12345678", (0, 0))
    remove_abandoned(tmp_path, "*.blob")
    assert {path.name for path in tmp_path.iterdir()} == {"k.blob", ".other.12345678"}


def test_a_lock_that_is_held_for_too_long_is_named(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", timeout_s=1), locked(tmp_path / "other", timeout_s=0):
        with (
            pytest.raises(BusyError, match="lock is locked by a different process"),
            locked(tmp_path / "lock", timeout_s=0.1),
        ):
            pass
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
    with locked(tmp_path / "lock", timeout_s=0):
        pass


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
