"""Faults of the machine under a supervisor: they condemn no bundle, and pass if they end."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge.bundle.reader import Bundle
from edge.errors import MachineError
from edge.inference import backoff
from edge.inference.fault_policy import MAX_FAULTS
from edge.inference.supervisor import Supervisor
from tests.support.processes import handles, until
from tests.support.supervised import CRASH, TwoSlots, Watched, picture


@pytest.mark.row(22, "a child that is stopped and continued")
def test_a_starved_child_costs_frames_and_nothing_else(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        starved = supervisor._engine
        assert starved is not None
        starved.timeout_ms, starved.hang_ms = 20, 60_000
        os.kill(starved.pid, signal.SIGSTOP)
        for _ in range(5):
            assert watched.suffers(77).kind == "late"
        os.kill(starved.pid, signal.SIGCONT)
        starved.timeout_ms = 5000
        assert (supervisor.infer(picture(5)) == 5).all(), "of this frame, not of the one before"
        assert supervisor.counters == {"late": 5}


class ReadOnly(TwoSlots):
    """Two slots on a disk that takes nothing any more."""

    def mark_bad(self, path: Path, reason: str) -> None:
        raise OSError(30, f"Read-only file system: {path}, {reason}")

    def mark_good(self, path: Path) -> None:
        raise OSError(28, f"No space left on device: {path}")


@pytest.mark.row(40, "a store that cannot be written")
@pytest.mark.row(42, "a store that cannot be written")
def test_a_store_that_cannot_be_written_stops_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(ReadOnly(*slots.paths), monkeypatch, clean_s=60.0)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        watched.now += 61_000_000_000
        supervisor.infer(picture(1))
        until(lambda: not supervisor._clean)
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
        assert supervisor.wait(20)
        assert (supervisor.infer(picture(2)) == 2).all(), "of the other slot"
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
        until(lambda: supervisor.phase == "exhausted")
        messages = [event.detail for event in supervisor.pop_events() if event.kind == "store"]
    assert sum("Read-only" in line for line in messages) == 2
    assert any("No space" in line for line in messages)


class Broken(TwoSlots):
    """Two slots that cannot be read at first, for a reason."""

    def __init__(self, *paths: Path, number: int, times: int) -> None:
        super().__init__(*paths)
        self.number, self.times = number, times

    def current(self) -> Path | None:
        if self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return super().current()

    def previous(self) -> Path | None:
        return None


@pytest.mark.row(51, "a store of bundles that cannot be read for a while")
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_store_that_cannot_be_read_is_asked_again(
    slots: TwoSlots, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.2)
    watched = Watched(Broken(*slots.paths, number=number, times=2), monkeypatch)
    with watched.supervisor as supervisor:
        until(lambda: bool(supervisor.lacking))
        assert supervisor.condition is not None
        assert supervisor.condition.state == "degraded"
        assert os.strerror(number) in str(supervisor.condition.reason)
        assert supervisor.wait(20)
        assert supervisor.condition is None


def test_a_store_that_may_not_be_read_is_the_end_and_not_a_wait() -> None:
    with Supervisor(Broken(number=errno.EACCES, times=99)) as supervisor:
        until(lambda: supervisor.phase == "exhausted")
        assert [event.kind for event in supervisor.pop_events()] == ["store", "exhausted"]


@pytest.mark.row(51, "no free file descriptor while the student starts again")
def test_a_machine_without_descriptors_condemns_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        with ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(highest + 1 - handles()):
                stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles(), hard))
            watched.suffers(CRASH)
            until(lambda: supervisor.counters["unstarted"] > MAX_FAULTS)
            condition = supervisor.condition
        assert condition is not None
        assert (condition.state, condition.reason.kind) == ("degraded", "machine")
        assert "Too many open files" in condition.reason.detail
        assert supervisor.wait(20)
        assert supervisor.bundle is not None
        assert supervisor.bundle.path == slots.paths[0]
        assert not slots.bad
        assert supervisor.condition is None


@pytest.mark.row(51, "a read error of the bundle that ends")
@pytest.mark.parametrize("lasts", [False, True])
def test_a_lasting_read_error_leads_to_the_other_bundle(
    slots: TwoSlots, lasts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read error that lasts leads to the other bundle and condemns none."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    real, left = Bundle.open, 99 if lasts else backoff.TRIES - 1

    def opened(path: Path) -> Bundle:
        nonlocal left
        if path == slots.paths[0] and left:
            left -= 1
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Bundle, "open", opened)
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        assert supervisor.bundle is not None
        assert supervisor.bundle.path == slots.paths[lasts]
        assert not slots.bad


@pytest.mark.row(51, "a student's process that dies before it handles the bundle")
def test_a_process_that_never_begins_condemns_no_bundle(
    slots: TwoSlots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that never begins says nothing about the bundle."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    watched = Watched(slots, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(broken))
        watched.supervisor.__enter__()
        until(lambda: watched.supervisor.counters["machine"] > MAX_FAULTS)
    try:
        assert watched.supervisor.wait(20)
        assert not slots.bad
    finally:
        watched.supervisor.close()


def test_a_source_that_needs_every_frame_gets_an_error(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that needs every frame is given an error in the end."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    monkeypatch.setattr(backoff, "PATIENCE_S", 0.05)
    slots.shipped = slots.paths[1]
    store = Broken(*slots.paths, number=errno.EMFILE, times=99)
    with Supervisor(store, patient=True) as supervisor:
        until(lambda: supervisor.phase == "exhausted")
        assert isinstance(supervisor.failure, MachineError)
        assert "Too many open files" in str(supervisor.failure)


@pytest.mark.row(21, "a child that the kernel kills, three times within a minute")
def test_a_machine_without_memory_marks_no_bundle_bad(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for _ in range(MAX_FAULTS):
            assert supervisor.wait(20)
            engine = supervisor._engine
            assert engine is not None
            os.kill(engine.pid, signal.SIGKILL)
            assert watched.suffers(1).kind == "memory"
        assert supervisor.wait(20)
        assert (supervisor.counters["memory"], supervisor.counters["passed_over"]) == (
            MAX_FAULTS,
            1,
        )
        assert not slots.bad
        assert (supervisor.infer(picture(2)) == 2).all(), "of the other slot"


def test_a_machine_without_processes_is_tried_again(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = subprocess.Popen, 5

    def popen(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        if refused:
            refused -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **options)

    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    monkeypatch.setattr(subprocess, "Popen", popen)
    before = handles()
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        assert supervisor.counters == {"unstarted": 5}
        assert [event.kind for event in supervisor.pop_events()] == ["unstarted", "ready"]
        assert not slots.bad
    assert handles() == before


@pytest.mark.parametrize(
    ("engine", "says"), [("abacus", "unknown engine"), ("openvino:NPU", "OpenVINO finds no NPU")]
)
def test_an_engine_that_is_not_here_is_not_the_bundles_fault(
    slots: TwoSlots, engine: str, says: str
) -> None:
    with Supervisor(slots, engine=engine) as supervisor:
        until(lambda: supervisor.phase == "exhausted")
        assert not slots.bad
        assert supervisor.counters == {"passed_over": 2}
        assert says in supervisor.gave_up
        assert says in supervisor.pop_events()[0].detail
