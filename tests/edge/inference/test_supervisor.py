"""A student's process under its supervisor: restarts, bundles given up, and neither."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.errors import InferenceFault, MachineError
from edge.inference import backoff
from edge.inference.messages import EngineSpec
from edge.inference.supervisor import MAX_FAULTS, SingleBundle, Supervisor
from edge.util import python_child
from tests.support.processes import alive, handles, until

if TYPE_CHECKING:
    from edge.contracts import BundleStore
    from edge.frame import ImageU8

HANG, CRASH, NAN, SHAPE = 201, 202, 204, 205
SIZE = 8


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fake_engines` is found by the student's process."""
    support = str(Path(__file__).parents[2] / "support")
    monkeypatch.setattr(python_child, "ROOTS", (*python_child.ROOTS, support))


def fake(**arguments: Any) -> EngineSpec:
    return EngineSpec(
        factory="fake_engines:FakeEngine",
        arguments={"size": SIZE, **arguments},
        input_size=(SIZE, SIZE),
        output_size=(SIZE, SIZE),
    )


def picture(value: int) -> ImageU8:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


class TwoSlots:
    """A store of two folders."""

    def __init__(self, *paths: Path) -> None:
        self.paths, self.bad, self.good = list(paths), list[tuple[Path, str]](), list[Path]()
        self.refunded = list[Path]()
        self.shipped: Path | None = None
        self.signed: dict[Path, str] = {}

    def current(self) -> Path | None:
        return self.paths[0] if self.paths else None

    def previous(self) -> Path | None:
        return self.paths[1] if len(self.paths) > 1 else None

    def fallback(self) -> Path | None:
        return self.shipped

    def digest(self, path: Path) -> str | None:
        return self.signed.get(path)

    def trouble(self) -> str:
        return ""

    def refund(self, path: Path) -> None:
        self.refunded.append(path)

    def mark_bad(self, path: Path, reason: str) -> None:
        self.bad.append((path, reason))
        self.paths.remove(path)

    def mark_good(self, path: Path) -> None:
        self.good.append(path)


@pytest.fixture
def slots(tiny_bundle: Path, tmp_path: Path) -> TwoSlots:
    return TwoSlots(*(Path(shutil.copytree(tiny_bundle, tmp_path / name)) for name in ("a", "b")))


class Watched:
    """A supervisor of both slots with a fake engine, which the picture controls."""

    def __init__(
        self, store: BundleStore, monkeypatch: pytest.MonkeyPatch, **settings: Any
    ) -> None:
        monkeypatch.setattr("edge.inference.supervisor._self_test", lambda *_: None)
        self.now = 0
        self.supervisor = Supervisor(
            store,
            spec=lambda _: fake(),
            clock=lambda: self.now,
            timeout_ms=1000,
            hang_ms=1000,
            **settings,
        )

    def suffers(self, order: int) -> InferenceFault:
        assert self.supervisor.wait(20)
        with pytest.raises(InferenceFault) as caught:
            self.supervisor.infer(picture(order))
        return caught.value


def test_a_crash_is_followed_by_another_process_of_the_same_bundle(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert watched.suffers(CRASH).kind == "crash"
        with pytest.raises(InferenceFault) as caught:
            supervisor.infer(picture(1))
        assert caught.value.kind == "restarting", "the loop never waits for a restart"
        assert supervisor.wait(20)
        assert (supervisor.infer(picture(1)) == 1).all()
        assert supervisor.counters == {"crash": 1, "restarts": 1}
        assert not slots.bad
        kinds = [news.kind for news in supervisor.news()]
    assert kinds == ["ready", "crash", "ready"]
    assert supervisor.news() == []


@pytest.mark.row(20, "three crashes within a minute by an injected clock")
@pytest.mark.row(39, "both slots crash: exhausted")
def test_a_crash_loop_leads_to_the_previous_slot_and_then_to_none(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = slots.paths
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
            watched.now += 10_000_000_000
        assert supervisor.wait(20)
        assert [path for path, _ in slots.bad] == [first]
        assert "3 faults within 60 s" in slots.bad[0][1]
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
        until(lambda: supervisor.phase == "exhausted")
        assert [path for path, _ in slots.bad] == [first, second]
        with pytest.raises(InferenceFault) as caught:
            supervisor.infer(picture(1))
        assert caught.value.kind == "exhausted"


def test_crashes_far_apart_condemn_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for _ in range(MAX_FAULTS + 1):
            watched.suffers(CRASH)
            watched.now += 31_000_000_000
        assert supervisor.wait(20)
        assert not slots.bad


@pytest.mark.row(17, "three damaged answers in a row")
def test_damaged_answers_in_a_row_lead_to_the_previous_slot(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = slots.paths[0]
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for order in (NAN, SHAPE):
            assert watched.suffers(order).kind == "damaged"
        supervisor.infer(picture(1))
        for order in (NAN, NAN):
            watched.suffers(order)
        assert not slots.bad, "a good answer in between begins anew"
        watched.suffers(SHAPE)
        assert supervisor.wait(20)
        until(lambda: bool(slots.bad))
        assert slots.bad[0][0] == first


@pytest.mark.row(19, "a child that sleeps, under the supervisor")
def test_a_hang_is_followed_by_another_process(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert watched.suffers(HANG).kind == "hang"
        assert supervisor.wait(20)
        assert (supervisor.infer(picture(5)) == 5).all()


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


def test_a_clean_while_marks_the_bundle_good_once(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, clean_s=60.0)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        watched.now += 59_000_000_000
        supervisor.infer(picture(1))
        assert not slots.good
        watched.now += 2_000_000_000
        supervisor.infer(picture(1))
        until(lambda: bool(slots.good))
        supervisor.infer(picture(1))
    assert slots.good == [slots.paths[0]]


def test_damaged_answers_put_off_the_good_mark(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, clean_s=60.0)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        watched.now += 59_000_000_000
        assert watched.suffers(NAN).kind == "damaged"
        watched.now += 59_000_000_000
        supervisor.infer(picture(1))
        assert not supervisor._clean
        watched.now += 1_000_000_000
        supervisor.infer(picture(1))
        until(lambda: bool(slots.good))


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
        said = [news.detail for news in supervisor.news() if news.kind == "store"]
    assert sum("Read-only" in line for line in said) == 2
    assert any("No space" in line for line in said)


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
        assert [news.kind for news in supervisor.news()] == ["store", "exhausted"]


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
        with ExitStack() as held:
            held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(highest + 1 - handles()):
                held.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles(), hard))
            watched.suffers(CRASH)
            until(lambda: supervisor.counters["unstarted"] > MAX_FAULTS)
            shown = supervisor.condition
        assert shown is not None
        assert (shown.state, shown.reason.kind) == ("degraded", "machine")
        assert "Too many open files" in shown.reason.detail
        assert supervisor.wait(20)
        assert supervisor.bundle is not None
        assert supervisor.bundle.path == slots.paths[0]
        assert not slots.bad
        assert supervisor.condition is None


@pytest.mark.row(51, "a read error of the bundle that ends")
@pytest.mark.parametrize("lasts", [False, True])
def test_a_read_error_that_lasts_leads_to_the_other_bundle_and_condemns_none(
    slots: TwoSlots, lasts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_process_that_never_begins_says_nothing_about_the_bundle(
    slots: TwoSlots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_source_that_needs_every_frame_is_given_an_error_in_the_end(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    monkeypatch.setattr(backoff, "PATIENCE_S", 0.05)
    slots.shipped = slots.paths[1]
    store = Broken(*slots.paths, number=errno.EMFILE, times=99)
    with Supervisor(store, patient=True) as supervisor:
        until(lambda: supervisor.phase == "exhausted")
        assert isinstance(supervisor.failure, MachineError)
        assert "Too many open files" in str(supervisor.failure)


@pytest.mark.row(53, "both slots condemned, a shipped bundle that runs")
def test_the_last_resort_runs_and_is_shown(
    slots: TwoSlots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.shipped = Path(shutil.copytree(slots.paths[0], tmp_path / "shipped"))
    for path in slots.paths:
        (path / "manifest.json").write_text("{}")
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        assert supervisor.bundle is not None
        assert supervisor.bundle.path == slots.shipped
        assert supervisor.condition is not None
        assert supervisor.condition.state == "degraded"
        assert "fallback: the shipped bundle runs: " in str(supervisor.condition.reason)
        assert "manifest.json" in str(supervisor.condition.reason)
    assert [path.name for path, _ in slots.bad] == ["a", "b"]


@pytest.mark.row(52, "the runtime is ended, and runs without frames")
def test_a_clean_end_and_an_idle_while_are_refunded(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = slots.paths[0]
    with Watched(slots, monkeypatch).supervisor as supervisor:
        assert supervisor.wait(20)
        assert not slots.refunded
    assert slots.refunded == [first]
    with Watched(slots, monkeypatch, clean_s=0.05).supervisor as supervisor:
        assert supervisor.wait(20)
        until(lambda: len(slots.refunded) > 1)
    assert set(slots.refunded) == {first}
    assert not slots.good


def test_a_bundle_that_was_exchanged_after_its_check_is_not_run(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = slots.paths
    slots.signed = {first: "0" * 64, second: Bundle.open(second).digest}
    with Watched(slots, monkeypatch).supervisor as supervisor:
        assert supervisor.wait(20)
        assert slots.paths == [second]
    assert "was changed after it was verified" in slots.bad[0][1]


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
        assert [news.kind for news in supervisor.news()] == ["unstarted", "ready"]
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
        assert says in supervisor.news()[0].detail


@pytest.mark.row(43, "the end comes while an engine opens")
def test_an_end_while_an_engine_opens_waits_for_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(slots, spec=lambda _: fake(fault="hang"))
    with supervisor:
        until(lambda: supervisor._opening is not None)
        opening = supervisor._opening
        assert opening is not None
    assert not supervisor._thread.is_alive()
    until(lambda: not alive(opening.pid))
    assert not slots.bad
    assert not supervisor.counters


def test_a_patient_caller_waits_for_the_next_process(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, patient=True)
    with watched.supervisor as supervisor:
        watched.suffers(CRASH)
        assert (supervisor.infer(picture(9)) == 9).all()


@pytest.mark.row(41, "a bundle whose model cannot be read to its end")
@pytest.mark.parametrize("harm", ["cut", "gone", "manifest"])
def test_a_bundle_that_cannot_be_read_is_a_bad_slot(slots: TwoSlots, harm: str) -> None:
    first, second = slots.paths
    harmed = first / ("manifest.json" if harm == "manifest" else "engines/openvino/model.bin")
    if harm == "gone":
        harmed.unlink()
    else:
        harmed.write_bytes(harmed.read_bytes()[:-1])
    with Supervisor(slots, engine="openvino", threads=1) as supervisor:
        assert supervisor.wait(60)
        assert slots.paths == [second]
        assert slots.bad[0][0] == first
        assert supervisor.name == "openvino"
        assert supervisor.counters == {"condemned": 1}, "at once"


def test_golden_frames_that_differ_condemn_the_bundle(
    slots: TwoSlots, tiny_parts: Any, tmp_path: Path
) -> None:
    from edge.bundle.reader import write_bundle

    manifest, files = tiny_parts
    swapped = {**files, "golden/0.scores.png": files["golden/2.scores.png"]}
    write_bundle(slots.paths[0], manifest, swapped, force=True)
    with Supervisor(slots, engine="tflite", threads=1) as supervisor:
        assert supervisor.wait(60)
        assert "golden frames differ" in slots.bad[0][1]
        assert supervisor.manifest == Bundle.open(slots.paths[0]).manifest


def test_a_single_bundle_has_nothing_to_fall_back_to(tmp_path: Path) -> None:
    store = SingleBundle(tmp_path)
    assert (store.current(), store.previous()) == (tmp_path, None)
    store.mark_good(tmp_path)
    store.mark_bad(tmp_path, "because")
    assert store.current() is None
    with Supervisor(store) as supervisor:
        assert not supervisor.wait(5)
        assert supervisor.phase == "exhausted"
        assert supervisor.input_size == (0, 0)
