"""What an engine that was taken over can do: nothing but run on what was handed over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.bundle.manifest import GoldenSet
from edge.bundle.reader import Bundle, write_bundle
from edge.engines import selftest
from edge.inference.engine_spec import bundle_spec
from edge.inference.messages import EngineSpec
from edge.inference.process import ProcessEngine
from edge.inference.supervisor import SingleBundle, Supervisor, SupervisorEvent
from edge.sandbox.enter import DESCRIPTORS, support
from edge.sandbox.grants import Grants, Sandbox
from edge.util import python_child
from edge.util.python_child import python_command
from tests.support.intruder import ALLOWED

SUPPORT = str(Path(__file__).parents[2] / "support")
SIZE = 8
HARMLESS = (
    "read /etc/passwd,list /,write beside the bundle,make a local socket,"
    "make a socket to the network,run a program,fork,signal the parent,read the bundle"
)

needs_sandbox = pytest.mark.skipif(
    bool(support().missing), reason="; ".join(support().missing) or "everything is there"
)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "around" / "bundle"))


@pytest.fixture
def intruders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of `tests/support` are found by the student's process."""
    monkeypatch.setattr(python_child, "ROOTS", (*python_child.ROOTS, SUPPORT))


def intruder(bundle: Path, own_folder: str = "", **grants: Any) -> EngineSpec:
    return EngineSpec(
        factory="intruder:Intruder",
        arguments={"bundle": str(bundle), "parent": os.getpid(), "own_folder": own_folder},
        input_size=(SIZE, SIZE),
        output_size=(SIZE, SIZE),
        grants=Grants(reads=[str(bundle)], writes=[own_folder] if own_folder else [], **grants),
    )


def held_back(outcome: dict[str, str]) -> None:
    """All attempts failed but those that an engine needs, and for lack of rights."""
    done = {name for name, what in outcome.items() if what == "done"}
    assert done == ALLOWED & set(outcome)
    assert set(outcome.values()) <= {"done", "EPERM", "EACCES", "ENOSYS", "ValueError", "EROFS"}
    assert outcome["read /etc/passwd"] == "EACCES"
    assert outcome["make a socket to the network"] == outcome["become a program"] == "EPERM"


@needs_sandbox
@pytest.mark.usefixtures("intruders")
def test_an_engine_in_its_process_reaches_nothing(bundle: Path, tmp_path: Path) -> None:
    own_folder = tmp_path / "mine"
    own_folder.mkdir()
    with closing(ProcessEngine(intruder(bundle, str(own_folder)), timeout_ms=5000)) as engine:
        engine.wait_ready()
        held_back(engine.settings())
        assert engine.sandbox == support()
        assert (engine.infer(np.full((SIZE, SIZE, 3), 5, np.uint8)) == 5).all()
        status = Path(f"/proc/{engine.pid}/status").read_text()
        limits = Path(f"/proc/{engine.pid}/limits").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(DESCRIPTORS)] * 2
    assert (own_folder / "own").read_bytes() == b"x"
    assert Bundle.open(bundle).verify_hashes()
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


@needs_sandbox
@pytest.mark.usefixtures("intruders")
def test_the_student_of_the_frame_loop_reaches_nothing(tiny_parts: Any, tmp_path: Path) -> None:
    manifest, files = tiny_parts
    manifest = msgspec.structs.replace(manifest, golden=GoldenSet(frames=[]))
    bundle = write_bundle(tmp_path / "around" / "bundle", manifest, files).path
    with Supervisor(
        SingleBundle(bundle), spec=lambda _: intruder(bundle), timeout_ms=5000
    ) as student:
        assert student.wait(60)
        held_back(student.settings())
        assert (student.infer(np.full((SIZE, SIZE, 3), 5, np.uint8)) == 5).all()
        assert "sandbox" not in {event.kind for event in student.pop_events()}, (
            "nothing was missing"
        )


@pytest.mark.usefixtures("intruders")
def test_what_the_kernel_lacks_is_told_in_the_journal(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks, ready = "files are not withheld", ProcessEngine.wait_ready

    def lacking(engine: ProcessEngine) -> None:
        ready(engine)
        engine.sandbox = Sandbox(missing=[lacks])

    monkeypatch.setattr(ProcessEngine, "wait_ready", lacking)
    monkeypatch.setattr("edge.inference.supervisor.check_process", lambda *_: None)
    with Supervisor(SingleBundle(bundle), spec=lambda _: intruder(bundle)) as student:
        assert student.wait(60)
        assert SupervisorEvent("sandbox", lacks) in student.pop_events()


@needs_sandbox
@pytest.mark.usefixtures("intruders")
def test_the_self_test_reaches_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(module: str, *arguments: str) -> list[str]:
        assert module == "edge.engines.selftest"
        return python_command("intruding_selftest", str(os.getpid()), *arguments)

    monkeypatch.setattr(selftest, "python_command", command)
    outcome = selftest.check_in_process(bundle)
    (text,) = outcome.problems
    held_back(json.loads(text))


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        ("free", set(HARMLESS.split(","))),
        pytest.param(
            "drivers",
            {"read /etc/passwd", "list /", "make a local socket", "read the bundle"},
            marks=needs_sandbox,
        ),
        pytest.param("closed", {"read the bundle"}, marks=needs_sandbox),
    ],
)
def test_each_kind_of_sandbox_withholds_what_it_says(
    kind: str, done: set[str], bundle: Path
) -> None:
    """The first is the control: without a sandbox all of this works."""
    arguments = (str(bundle), str(os.getpid()), kind, HARMLESS)
    ended = subprocess.run(
        [sys.executable, f"{SUPPORT}/intruder.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": python_child.ROOTS[0], "OPENBLAS_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout)
    assert {name for name, what in outcome.items() if what == "done"} == done


def entered(program: str) -> list[list[str]]:
    """What each entry of a program lacked."""
    code = (
        "import json, threading, time; from edge.sandbox.enter import enter; "
        f"from edge.sandbox.grants import Grants; {program}"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": python_child.ROOTS[0]},
    )
    return [json.loads(line) for line in ended.stdout.splitlines()]


@needs_sandbox
def test_a_process_with_threads_says_that_it_is_half_in() -> None:
    ((missing,),) = entered(
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); "
        "print(json.dumps(enter(Grants()).missing))"
    )
    assert missing == "files are not withheld (Landlock: for threads that run already)"


@needs_sandbox
def test_a_kernel_that_refuses_says_which_part_is_missing() -> None:
    """A sandbox withholds the calls that make a second one, as a kernel without them does."""
    enter = "print(json.dumps(enter(Grants(drivers={})).missing)); "
    assert entered(enter.format(True) + enter.format(False)) == [
        [],
        ["files are not withheld (Landlock: Function not implemented)"],
    ]
    assert entered(enter.format(False) * 2) == [
        [],
        [
            "files are not withheld (Landlock: Operation not permitted)",
            "system calls are not filtered (seccomp: [Errno 1] Operation not permitted)",
        ],
    ]


@pytest.mark.parametrize("name", ["openvino", "tflite", "onnx"])
def test_every_engine_runs_inside_with_the_same_scores(
    name: str, tiny_bundle: Path, tiny_scene: Any, tiny_student: Any
) -> None:
    spec = bundle_spec(Bundle.open(tiny_bundle), name, threads=3, cached=False)
    assert not spec.grants.drivers, "the installed runtimes have no drivers"
    with closing(ProcessEngine(spec, timeout_ms=20_000)) as engine:
        engine.wait_ready()
        assert engine.sandbox is not None
        assert engine.sandbox == support()
        for number in range(3):
            image = tiny_scene(number)
            difference = engine.infer(image).astype(int) - tiny_student(image).astype(int)
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("engine", "drivers"),
    [("openvino", False), ("openvino:CPU", False), ("openvino:GPU", True), ("openvino:AUTO", True)],
)
def test_devices_get_the_wider_sandbox(engine: str, drivers: bool, tiny_bundle: Path) -> None:
    grants = bundle_spec(Bundle.open(tiny_bundle), engine).grants
    assert grants.drivers is drivers
    assert (grants.memory_mb is None) is drivers
