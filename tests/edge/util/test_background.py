"""The background worker, and files of whole lines."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import BusyError
from edge.util.append_file import LineFile
from edge.util.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Gate:
    """Work that waits until it may be done."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, item: int) -> None:
        self.begun.set()
        assert self.open.wait(10)
        self.done.append(item)


@pytest.mark.parametrize(
    ("when_full", "done", "dropped"), [("oldest", [0, 4, 5, 6], 3), ("newest", [0, 1, 2, 3], 3)]
)
def test_a_full_queue_drops_and_counts(when_full: str, done: list[int], dropped: int) -> None:
    gate = Gate()
    background = Background(gate, capacity=3, when_full=when_full, name="t")  # type: ignore[arg-type]
    background.put(0)
    assert gate.begun.wait(10)
    accepted = [background.put(item) for item in range(1, 7)]
    assert accepted == [True] * 3 + [False] * 3
    gate.open.set()
    assert background.close(10)
    assert (gate.done, background.dropped) == (done, dropped)


def test_a_full_queue_that_waits_loses_nothing() -> None:
    done: list[int] = []
    background = Background(done.append, capacity=2, when_full="wait", name="t")
    for item in range(500):
        background.put(item)
    assert background.close(None)
    assert (done, background.dropped) == (list(range(500)), 0)


def test_work_that_the_disk_refuses_is_tried_again_in_order() -> None:
    done: list[int] = []
    refusals = iter([True, True, False, True])

    def work(item: int) -> None:
        if next(refusals, False):
            raise OSError(errno.ENOSPC, "full")
        done.append(item)

    background = Background(work, capacity=8, when_full="oldest", name="t", retry_s=0.001)
    for item in range(5):
        background.put(item)
    while len(done) < 5:
        assert background.error is None
    assert background.close(10)
    assert (done, background.failed, background.dropped) == (list(range(5)), 3, 0)


def test_what_cannot_be_done_at_the_end_is_dropped_and_counted() -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    background = Background(full, capacity=8, when_full="oldest", name="t")
    for item in range(5):
        background.put(item)
    assert background.close(10)
    assert background.dropped == 5


def test_work_that_hangs_is_left_behind() -> None:
    gate = Gate()
    background = Background(gate, capacity=3, when_full="oldest", name="t", retry_s=0.01)
    background.put(0)
    background.put(1)
    assert gate.begun.wait(10)
    assert not background.close(0.01)
    gate.open.set()


@pytest.mark.parametrize("when_full", ["wait", "oldest", "newest"])
def test_an_error_in_the_work_is_raised_in_the_end(when_full: str) -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    background = Background(fail, capacity=1, when_full=when_full, name="t")  # type: ignore[arg-type]
    background.put(0)
    while background.error is None:
        time.sleep(0.001)
    if when_full == "wait":
        with pytest.raises(ZeroDivisionError):
            background.put(1)
    else:
        assert not background.put(1), "who may not wait is not bothered either"
        assert background.dropped == 1
    with pytest.raises(ZeroDivisionError):
        background.close(10)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_files_are_rotated_by_size_and_their_number_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LineFile(path, max_bytes=50, keep=3)
    for number in range(20):
        file.append(b"%09d\n" % number)
    file.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    numbers = [int(line) for name in ("log.2", "log.1", "log") for line in lines(tmp_path / name)]
    assert numbers == list(range(5, 20))
    assert all(one.stat().st_size <= 50 for one in tmp_path.iterdir())


@pytest.mark.row(42, "a log is renamed, removed and its folder taken away by others")
def test_a_file_that_others_move_or_remove_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    file = LineFile(path)
    file.append(b"a\n")
    path.rename(tmp_path / "moved")
    file.append(b"b\n")
    assert lines(path) == ["b"]
    path.unlink()
    path.parent.rmdir()
    file.append(b"c\n")
    file.close()
    assert (lines(tmp_path / "moved"), lines(path)) == (["a"], ["c"])


def test_a_file_of_one_run_has_one_writer(tmp_path: Path) -> None:
    """With `--force`, a second run emptied the file of the first one and wrote into it."""
    path = tmp_path / "frames.jsonl"
    first, second = LineFile(path), LineFile(path)
    first.open(fresh=True)
    first.append(b"1\n")
    with pytest.raises(BusyError, match="written by a different run"):
        second.open(fresh=True)
    first.append(b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    path.rename(tmp_path / "moved")
    first.append(b"3\n")
    with pytest.raises(BusyError):
        second.open(fresh=True)
    first.close()
    second.open(fresh=True)
    second.append(b"4\n")
    second.close()
    assert path.read_bytes() == b"4\n"
    nothing = tmp_path / "nothing"
    nothing.symlink_to("/dev/null")
    one, other = LineFile(nothing), LineFile(nothing)
    one.open(fresh=True)
    other.open(fresh=True)  # a device is nobody's own
    one.close()
    other.close()


def test_a_line_that_a_dead_writer_left_by_half_is_ended_first(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\nhal")
    file = LineFile(tmp_path / "log")
    file.append(b"next\n")
    file.close()
    assert lines(tmp_path / "log") == ["whole", "hal", "next"]


@pytest.mark.row(40, "a fake write takes a part of a line, then raises ENOSPC")
@given(plan=st.lists(st.integers(-1, 12), max_size=40))
@settings(max_examples=60)
def test_lines_are_whole_whatever_the_disk_takes(
    tmp_path_factory: pytest.TempPathFactory, plan: list[int]
) -> None:
    """A number is how much one write takes; -1 is a full disk."""
    steps = iter(plan)

    def write(handle: int, data: bytes) -> int:
        count = next(steps, len(data))
        if count < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(handle, data[: max(count, 1)])

    path = tmp_path_factory.mktemp("full") / "log"
    file, written = LineFile(path, write=write), []
    for number in range(20):
        try:
            file.append(b"line %d\n" % number)
        except OSError:
            continue
        written.append(f"line {number}")
    file.close()
    assert lines(path) == written


@pytest.mark.row(42, "a fake write and truncate raise EROFS after a part of a line")
def test_a_half_line_is_ended_before_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half that cannot be taken back is ended before the next line."""
    writes: list[Callable[[int, bytes], int]] = [lambda handle, data: os.write(handle, data[:3])]

    def write(handle: int, data: bytes) -> int:
        if writes:
            return writes.pop()(handle, data)
        if read_only:
            raise OSError(errno.EROFS, "Read-only file system")
        return os.write(handle, data)

    def truncate(*_: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    read_only = True
    file = LineFile(tmp_path / "log", write=write)
    with monkeypatch.context() as context:
        context.setattr(os, "ftruncate", truncate)
        with pytest.raises(OSError, match="Read-only"):
            file.append(b"first\n")
    read_only = False
    file.append(b"second\n")
    file.close()
    assert lines(tmp_path / "log") == ["fir", "second"]


def test_what_failed_just_before_the_end_is_tried_once_more() -> None:
    begun, ended, done = threading.Event(), threading.Event(), list[int]()

    def work(item: int) -> None:
        if not begun.is_set():
            begun.set()
            assert ended.wait(10)
            raise OSError(errno.ENOSPC, "full")
        done.append(item)

    queue = Background(work, capacity=4, when_full="oldest", name="test", retry_s=0.01)
    queue.put(1)
    assert begun.wait(10)
    # Released only once the end has been asked for: the attempt that fails began before it.
    threading.Timer(0.05, ended.set).start()
    assert queue.close(10)
    assert (done, queue.failed, queue.dropped) == ([1], 1, 0)
