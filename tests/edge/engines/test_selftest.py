"""A bundle's self-test: golden frames, sane scores, and time, in a separate process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edge.bundle.reader import Bundle, write_bundle
from edge.engines.selftest import check_in_process, self_test

if TYPE_CHECKING:
    from edge.bundle.manifest import Manifest

Parts = tuple["Manifest", dict[str, bytes]]


def with_one_engine(parts: Parts, out: Path, **files: bytes) -> Path:
    """The tiny bundle with OpenVINO alone, some of its files changed."""
    manifest = msgspec.structs.replace(parts[0], engines=parts[0].engines[:1])
    return write_bundle(out, manifest, parts[1] | files).path


@pytest.fixture
def wrong_golden(tiny_parts: Parts, tmp_path: Path) -> Path:
    """A bundle whose engine gives other scores than its golden frames tell."""
    scores = cv2.imencode(".png", np.full((16, 16), 200, np.uint8))[1].tobytes()
    return with_one_engine(tiny_parts, tmp_path / "wrong", **{"golden/0.scores.png": scores})


def test_a_good_bundle_passes_with_every_engine(tiny_bundle: Path) -> None:
    outcome = self_test(Bundle.open(tiny_bundle), limit_ms=1e6)
    assert outcome.ok, outcome.problems
    assert outcome.golden == 9
    assert outcome.median_ms is not None


@pytest.mark.row(38, "golden frames with other scores, by the real engine")
def test_wrong_golden_frames_fail(wrong_golden: Path) -> None:
    outcome = self_test(Bundle.open(wrong_golden), limit_ms=1e6)
    assert not outcome.ok
    assert not outcome.late
    assert "golden frames beyond tolerance" in outcome.problems[0]


def test_a_slow_engine_is_late_and_nothing_else(tiny_parts: Parts, tmp_path: Path) -> None:
    times = iter(range(0, 10**12, 80_000_000))
    bundle = Bundle.open(with_one_engine(tiny_parts, tmp_path / "b"))
    outcome = self_test(bundle, clock=lambda: next(times))
    assert (outcome.ok, outcome.late, outcome.median_ms) == (False, True, 80.0)
    assert outcome.problems == ["openvino: 80.0 ms for an inference, at most 74 ms"]


class Strange:
    """An engine that gives what it is told to."""

    input_buffer = None

    name, input_size = "openvino", (64, 64)

    def __init__(self, scores: Any) -> None:
        self.scores, self.closed = scores, False

    def infer(self, _: Any) -> Any:
        return self.scores

    def close(self) -> None:
        self.closed = True


@pytest.mark.row(17, "an engine that gives NaN, another type, or another shape")
@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        (np.full((16, 16), np.nan, np.float32), "openvino: scores are NaN or infinite"),
        (np.zeros((16, 16), np.float32), "openvino: scores of float32 (16, 16)"),
        (np.zeros((8, 16), np.uint8), "openvino: scores of uint8 (8, 16)"),
    ],
)
def test_strange_scores_fail(
    scores: Any, problem: str, tiny_parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Strange(scores)
    bundle = Bundle.open(with_one_engine(tiny_parts, tmp_path / "b"))
    monkeypatch.setattr("edge.engines.open.open_engine", lambda *_: engine)
    outcome = self_test(bundle, limit_ms=1e6)
    assert (outcome.ok, outcome.late, outcome.problems) == (False, False, [problem])
    assert engine.closed


def test_a_bundle_that_no_engine_opens_fails(tiny_parts: Parts, tmp_path: Path) -> None:
    path = with_one_engine(tiny_parts, tmp_path / "b", **{"engines/openvino/model.xml": b"<net/>"})
    assert not self_test(Bundle.open(path)).ok


def test_the_process_of_its_own_tells_the_same(wrong_golden: Path) -> None:
    assert check_in_process(wrong_golden, limit_ms=1e6) == msgspec.structs.replace(
        self_test(Bundle.open(wrong_golden), limit_ms=1e6),
        median_ms=pytest.approx(0, abs=1e6),
    )
    missing = check_in_process(wrong_golden / "nowhere")
    assert not missing.ok
    assert "does not exist" in missing.problems[0]


@pytest.mark.row(19, "an engine that hangs, as a process that never answers")
@pytest.mark.row(20, "an engine that takes its process down")
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
        ("import os; os.abort()", "ended with -6"),
        ("print('hello')", "ended with 0"),
        ("import sys; sys.exit('no such operation')", "ended with 1: no such operation"),
    ],
)
def test_a_process_that_hangs_or_dies_is_a_failed_test(
    script: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    outcome = check_in_process(tmp_path, timeout_s=0.5 if "sleep" in script else 60)
    assert not outcome.ok
    assert problem in outcome.problems[0]


@pytest.mark.row(51, "a self-test that the machine does not let run")
@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit('OSError: [Errno 24] Too many open files')", "Too many open files"),
        ("import os; os.kill(os.getpid(), 9)", "out of memory"),
        ("raise MemoryError('out of memory')", "out of memory"),
        ("", "no process can be started"),
    ],
)
def test_a_machine_that_cannot_test_says_so(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    if script:
        program.write_text(f"#!{sys.executable}\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    outcome = check_in_process(tmp_path)
    assert (outcome.ok, outcome.problems) == (False, [])
    assert says in outcome.machine


def test_nothing_is_imported_from_the_working_folder(
    tiny_parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_one_engine(tiny_parts, tmp_path / "b")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "__init__.py").write_text("raise SystemExit('a stick was run')")
    monkeypatch.chdir(tmp_path)
    assert check_in_process(Path("b"), limit_ms=1e6).ok
