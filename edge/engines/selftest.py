"""Self-test of a bundle on this machine: golden frames, valid scores and latency.

`check_in_process` runs this module in a sandboxed process of its own, so that an engine that hangs,
crashes its process or takes it over only fails the test.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import EdgeDifomError
from edge.limits import MAX_MEDIAN_INFERENCE_MS
from edge.sandbox.grants import MEMORY_MB, Grants
from edge.util.machine_fault import machine_fault
from edge.util.process_env import configure_worker
from edge.util.python_child import python_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.bundle.reader import Bundle
    from edge.contracts import Engine

TIMEOUT_S = 120.0
_WARM, _RUNS = 3, 20


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a self-test.

    Attributes:
        ok: Whether the test passed.
        engine: The engine whose latency was measured; empty if none opened.
        golden: Number of compared golden frames, over all engines.
        median_ms: Median inference time; None if no inference ran.
        problems: Everything that failed; empty if `ok`.
        late: Whether the latency is the only failure.
        machine: What the machine lacked, so that the test says nothing about the bundle; empty if
            it could be run.
    """

    ok: bool
    engine: str = ""
    golden: int = 0
    median_ms: float | None = None
    problems: list[str] = []
    late: bool = False
    machine: str = ""


def self_test(
    bundle: Bundle,
    engine: str = "auto",
    *,
    limit_ms: float = MAX_MEDIAN_INFERENCE_MS,
    clock: Callable[[], int] = time.monotonic_ns,
) -> SelfTest:
    """Check the golden frames on every installed INT8 engine, then time the one to be used.

    Args:
        bundle: An open bundle.
        engine: The engine that will be used.
        limit_ms: Maximum median inference time.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """
    from edge.engines.golden_check import verify_bundle
    from edge.engines.open import open_engine

    try:
        report = verify_bundle(bundle)
        student = open_engine(bundle, engine)
    except EdgeDifomError as error:
        return _failure(error)
    try:
        strange, median = _measure(student, bundle, clock)
    finally:
        student.close()
    golden = sum(len(check.frames) for check in report.engines)
    wrong = [*report.problems, *strange]
    late = median > limit_ms
    slow = (
        [f"{student.name}: {median:.1f} ms for an inference, at most {limit_ms:g} ms"]
        if late
        else []
    )
    return SelfTest(
        ok=not wrong and not late,
        engine=student.name,
        golden=golden,
        median_ms=median,
        problems=wrong + slow,
        late=late and not wrong,
    )


def check_in_process(
    path: Path, *, limit_ms: float = MAX_MEDIAN_INFERENCE_MS, timeout_s: float = TIMEOUT_S
) -> SelfTest:
    """Run `self_test` on a bundle in a separate process.

    Args:
        path: The bundle.
        limit_ms: Maximum median inference time.
        timeout_s: Maximum time for the whole test.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edge-difom-") as scratch:
            grants = _grants(path.absolute(), scratch)
            command = python_command(
                "edge.engines.selftest",
                str(path.absolute()),
                str(limit_ms),
                msgspec.json.encode(grants).decode(),
            )
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TMPDIR": scratch},
            )
    except subprocess.TimeoutExpired:
        return SelfTest(ok=False, problems=[f"no answer within {timeout_s:g} s"])
    except OSError as error:
        return SelfTest(ok=False, machine=f"no process can be started: {error}")
    last = done.stdout.strip().rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(last, type=SelfTest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        ended = f"the engine's process ended with {done.returncode}: {last_line}"
        if done.returncode == -signal.SIGKILL:
            return SelfTest(ok=False, machine=f"{ended}, as the kernel does out of memory")
        if machine_fault(RuntimeError(last_line)) is not None:
            return SelfTest(ok=False, machine=ended)
        return SelfTest(ok=False, problems=[ended])


def _grants(path: Path, scratch: str) -> Grants:
    """Return what the process needs that opens every engine of a bundle."""
    from edge.bundle.reader import Bundle
    from edge.engines.open import needs_drivers

    try:
        engines = [entry.runtime for entry in Bundle.open(path).manifest.engines]
        drivers = any(needs_drivers(name) for name in engines)
    except EdgeDifomError:
        drivers = False  # the process opens nothing either, and says why
    return Grants(
        reads=[str(path)],
        writes=[scratch],
        drivers=drivers,
        memory_mb=None if drivers else MEMORY_MB,
    )


def _failure(error: Exception) -> SelfTest:
    fault = machine_fault(error)
    if fault is not None:
        return SelfTest(ok=False, machine=fault.text)
    message = (
        error.what if isinstance(error, EdgeDifomError) else f"{type(error).__name__}: {error}"
    )
    return SelfTest(ok=False, problems=[message])


def _measure(student: Engine, bundle: Bundle, clock: Callable[[], int]) -> tuple[list[str], float]:
    """Return problems with the scores of noise images, and the median inference time in ms."""
    height, width = student.input_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    output = bundle.manifest.output
    problems, times = [], []
    for run in range(_WARM + _RUNS):
        begin = clock()
        scores = np.asarray(student.infer(image))
        if run >= _WARM:
            times.append((clock() - begin) / 1e6)
        if not np.isfinite(scores).all():
            problems.append(f"{student.name}: scores are NaN or infinite")
        elif scores.dtype != np.uint8 or scores.shape != output.map_size:
            problems.append(f"{student.name}: scores of {scores.dtype} {scores.shape}")
    return list(dict.fromkeys(problems)), statistics.median(times)


def main(arguments: list[str]) -> None:
    """Test a bundle and print the outcome as a line of JSON.

    Args:
        arguments: Path of the bundle, the limit in ms, and `edge.sandbox.grants.Grants` as JSON.
    """
    from edge.bundle.reader import Bundle
    from edge.sandbox.enter import enter

    configure_worker()
    path, limit, grants = arguments
    enter(msgspec.json.decode(grants, type=Grants))
    try:
        outcome = self_test(Bundle.open(path), limit_ms=float(limit))
    except (EdgeDifomError, OSError, MemoryError) as error:
        outcome = _failure(error)
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
