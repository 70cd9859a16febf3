"""The student in a process of its own: what it may do, and what becomes of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.errors import BundleError, InferenceFault, MissingDependencyError, UsageError
from edge.inference.engine_spec import bundle_spec
from edge.inference.messages import EngineSpec
from edge.inference.process import ProcessEngine
from edge.sandbox.grants import Grants
from edge.util import python_child
from tests.support.processes import alive, handles, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import ImageU8

HANG, CRASH, MEMORY, NAN, SHAPE, RAISE, SLOW, NONSENSE, NOTICED, FILL = range(201, 211)
SIZE = 8


def fake(size: int = SIZE, *, memory_mb: int | None = None, **arguments: Any) -> EngineSpec:
    return EngineSpec(
        factory="fake_engines:FakeEngine",
        arguments={"size": size, **arguments},
        input_size=(size, size),
        output_size=(size, size),
        grants=Grants(memory_mb=memory_mb),
    )


def opened(spec: EngineSpec, *, start_s: float = 60.0, **timing: float) -> ProcessEngine:
    """A process whose engine is open; killed where it does not open."""
    engine = ProcessEngine(spec, **timing)
    try:
        engine.wait_ready(start_s)
    except BaseException:
        engine.close()
        raise
    return engine


def picture(value: int, size: int = SIZE) -> ImageU8:
    return np.full((size, size, 3), value, np.uint8)


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    with closing(opened(fake(), timeout_ms=2000)) as student:
        yield student


def test_scores_come_back_and_each_is_of_its_own_frame(engine: ProcessEngine) -> None:
    assert (engine.name, engine.input_size, engine.settings()) == (
        "fake",
        (SIZE, SIZE),
        {"precision": "int8"},
    )
    for value in (0, 7, 200, 7):
        assert (engine.infer(picture(value)) == value).all()


@pytest.mark.row(19, "a child that sleeps in an inference")
def test_a_hang_is_a_fault_and_close_kills_at_once() -> None:
    """A hang is a fault in time and close kills without waiting."""
    engine = opened(fake(), timeout_ms=50, hang_ms=50)
    begin = time.monotonic()
    with pytest.raises(InferenceFault, match="no answer") as caught:
        engine.infer(picture(HANG))
    engine.close()
    assert time.monotonic() - begin < 1
    assert caught.value.kind == "hang"
    until(lambda: not alive(engine.pid))


@pytest.mark.parametrize(
    ("order", "kind", "says"),
    [
        pytest.param(
            CRASH, "crash", "SIGSEGV", marks=pytest.mark.row(20, "a child that dies of SIGSEGV")
        ),
        (RAISE, "crash", "RuntimeError: an operation failed"),
        (NONSENSE, "crash", "nonsense"),
        (NOTICED, "damaged", "Inf in a layer"),
        pytest.param(NAN, "damaged", "NaN", marks=pytest.mark.row(17, "a child that answers NaN")),
        pytest.param(
            SHAPE,
            "damaged",
            r"\(9, 9\)",
            marks=pytest.mark.row(17, "a child that answers in another shape"),
        ),
    ],
)
def test_each_fault_has_its_kind(engine: ProcessEngine, order: int, kind: str, says: str) -> None:
    with pytest.raises(InferenceFault, match=says) as caught:
        engine.infer(picture(order))
    assert caught.value.kind == kind


@pytest.mark.row(21, "a child that allocates beyond its limit")
def test_memory_that_runs_out_takes_the_child_and_not_us() -> None:
    with closing(opened(fake(memory_mb=512), timeout_ms=20_000)) as engine:
        with pytest.raises(InferenceFault) as caught:
            engine.infer(picture(MEMORY))
        assert caught.value.kind == "memory"
        until(lambda: not alive(engine.pid))


def make_group(limit: int) -> Path | None:
    """A control group whose processes share `limit` bytes; None if this user may not make one."""
    for root, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", root, f"edge-difom-test-{os.getpid()}")
        with suppress(OSError):
            group.mkdir()
            try:
                (group / name).write_text(str(limit))
            except OSError:
                group.rmdir()
            else:
                return group
    return None


@pytest.fixture
def small_memory() -> Iterator[Path]:
    group = make_group(128 << 20)
    if group is None:
        pytest.skip("this user may not make control groups")
    yield group
    until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@pytest.mark.row(21, "a child in a control group whose memory is used up")
def test_the_kernel_takes_the_child_when_memory_runs_out(small_memory: Path) -> None:
    with closing(opened(fake(), timeout_ms=60_000)) as engine:
        (small_memory / "cgroup.procs").write_text(str(engine.pid))
        with pytest.raises(InferenceFault, match="killed") as caught:
            engine.infer(picture(FILL))
        assert caught.value.kind == "memory"


@pytest.mark.row(21, "a child that is killed as the kernel kills it")
def test_a_child_that_the_kernel_kills_is_told_from_a_crash(engine: ProcessEngine) -> None:
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(InferenceFault) as caught:
        engine.infer(picture(1))
    assert caught.value.kind == "memory"


@pytest.mark.row(43, "the service manager's signal reaches the child too")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_child_leaves_the_end_to_its_parent(
    engine: ProcessEngine, number: signal.Signals
) -> None:
    os.kill(engine.pid, number)
    assert (engine.infer(picture(6)) == 6).all()


def test_a_damaged_answer_costs_one_frame_only(engine: ProcessEngine) -> None:
    with pytest.raises(InferenceFault):
        engine.infer(picture(NAN))
    assert (engine.infer(picture(3)) == 3).all()


def test_an_engine_that_dies_when_it_is_opened_is_a_fault() -> None:
    with pytest.raises(InferenceFault) as caught:
        opened(fake(fault="crash"))
    assert caught.value.kind == "crash"


def test_what_an_engine_refuses_is_the_error_that_it_is() -> None:
    with pytest.raises(BundleError, match="cannot be opened"):
        opened(fake(fault="raise"))


@pytest.mark.row(22, "a child that needs longer than a frame may wait")
def test_late_answers_are_never_taken_for_another_frames() -> None:
    """Late answers cost frames and are never taken for another."""
    with closing(opened(fake(), timeout_ms=60, hang_ms=5000)) as engine:
        engine.timeout_ms = 2000
        engine.infer(picture(1))
        engine.timeout_ms = 60
        kinds = []
        scores = None
        for order in (SLOW, *range(1, 60)):
            try:
                scores = engine.infer(picture(order))
                break
            except InferenceFault as fault:
                kinds.append(fault.kind)
        assert kinds[:2] == ["late", "late"]
        assert set(kinds) == {"late"}
        assert scores is not None
        assert (scores == len(kinds)).all(), "of this frame, not of the slow one"


@pytest.mark.row(19, "a child that is stopped, over several frames")
def test_waiting_adds_up_to_a_hang_over_frames() -> None:
    with closing(opened(fake(), timeout_ms=5000)) as engine:
        engine.infer(picture(1))
        engine.timeout_ms, engine.hang_ms = 10, 40
        os.kill(engine.pid, signal.SIGSTOP)
        kinds = []
        for _ in range(4):
            with pytest.raises(InferenceFault) as caught:
                engine.infer(picture(1))
            kinds.append(caught.value.kind)
    assert kinds == ["late", "late", "late", "hang"]


def test_what_a_library_prints_stays_out_of_our_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    opened(fake(fault="chatter")).close()
    written = capfd.readouterr()
    assert written.out == ""
    assert "greeting" in written.err


def test_the_child_imports_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    opened(fake()).close()


def test_a_picture_in_the_shared_memory_is_scored_without_a_copy(engine: ProcessEngine) -> None:
    engine.input_buffer[:] = 9
    assert (engine.infer(engine.input_buffer) == 9).all()
    assert (engine.infer(picture(4)) == 4).all()
    assert (engine.input_buffer == 4).all()


def test_an_engine_that_opens_too_slowly_is_a_fault() -> None:
    with pytest.raises(InferenceFault, match="was not ready within 5 s") as caught:
        opened(fake(fault="hang"), start_s=5.0)
    assert caught.value.kind == "hang"
    with pytest.raises(InferenceFault, match=r"was not ready within 0\.001 s") as caught:
        opened(fake(fault="hang"), start_s=0.001)
    assert caught.value.kind == "machine", "no bundle was handled yet"


def test_the_child_ends_with_its_parent_whatever_it_does() -> None:
    program = (
        "import os, signal, sys, numpy as np; from edge.inference.process import ProcessEngine; "
        f"from edge.util import python_child; python_child.ROOTS = {python_child.ROOTS!r}; "
        "from edge.inference.messages import EngineSpec; "
        "e = ProcessEngine(EngineSpec(factory='fake_engines:FakeEngine', "
        f"arguments={{'size': {SIZE}}}, input_size=({SIZE}, {SIZE}), "
        f"output_size=({SIZE}, {SIZE}))); e.wait_ready(); print(e.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    pid = int(done.stdout)
    until(lambda: not alive(pid))


@pytest.mark.parametrize("place", ["home", "path", "folder"])
def test_no_code_is_taken_from_home_path_or_folder(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = tmp_path / f".local/lib/{version}/site-packages"
    for folder in (home, tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("usercustomize.py", "sitecustomize.py", "msgspec.py", "runpy.py"):
            (folder / name).write_text(code)
    if place == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
        # An environment of its own has no user site; the system's Python does.
        monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / ".local"))
    elif place == "path":
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    else:
        monkeypatch.chdir(tmp_path)
    opened(fake()).close()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EIO])
def test_a_fault_of_the_machine_in_the_child_is_told_as_such(number: int) -> None:
    with pytest.raises(InferenceFault, match=os.strerror(number)) as caught:
        opened(fake(fault=f"errno-{number}"))
    assert caught.value.kind == "machine"


def test_nothing_is_left_open(engine: ProcessEngine) -> None:
    before = handles()
    for _ in range(3):
        opened(fake()).close()
    assert handles() == before


def test_an_engine_of_a_bundle_gives_the_same_scores_as_here(
    tiny_bundle: Path, tiny_scene: Any, tiny_student: Any
) -> None:
    image = tiny_scene(1)
    for name in ("openvino", "tflite", "onnx"):
        with closing(opened(bundle_spec(Bundle.open(tiny_bundle), name, threads=1))) as engine:
            engine.timeout_ms = 5000
            assert engine.name == name
            assert (
                np.abs(engine.infer(image).astype(int) - tiny_student(image).astype(int)).max() <= 1
            )


def test_what_cannot_run_is_told_before_a_process_starts(tiny_bundle: Path) -> None:
    """What cannot run here is told before a process is started."""
    with pytest.raises(UsageError, match="unknown engine"):
        bundle_spec(Bundle.open(tiny_bundle), "abacus")


def test_an_engine_that_is_not_installed_is_told_with_its_extra(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edge.engines.open.available", lambda: {"openvino": None, "tflite": None, "onnx": None}
    )
    with pytest.raises(MissingDependencyError, match="no engine"):
        bundle_spec(Bundle.open(tiny_bundle))
