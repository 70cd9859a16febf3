"""What the sandbox of the student's process costs at its start and in each inference."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from benchmarks.micro.device import write_untrained
from benchmarks.micro.engines import SIZE, THREADS, timed_ms
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.bundle.reader import Bundle
from edge.errors import ParityError
from edge.inference import process, worker
from edge.inference.engine_spec import bundle_spec
from edge.inference.process import ProcessEngine
from edge.sandbox.grants import Grants, Sandbox
from edge.util.python_child import python_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import ImageU8

_STARTS = 7
_TIMEOUT_MS = 20_000.0


def latency_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.02) -> Comparison:
    """Compare the wall time of inferences in a sandboxed process with that in a free one.

    Args:
        rounds: Number of frames.
        size: Height and width of the engine's input.
        bound: Promised ratio.
    """
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with ExitStack() as stack:
        bundle = stack.enter_context(_untrained(size))
        inside, outside = (stack.enter_context(closing(_opened(bundle, free))) for free in (0, 1))
        check = _same(inside, outside, image)
        within, without = interleave(
            lambda: timed_ms(inside, image), lambda: timed_ms(outside, image), rounds=rounds
        )
        settings = inside.settings()
    left = Side(what="inference in the sandbox, edge-s INT8", samples=within)
    right = Side(what="inference outside", samples=without)
    ratio = left.median / right.median
    goal = Goal(what="inference in the sandbox over outside", value=ratio, bound=bound)
    return compare(left, right, check=check, unit="ms", goal=goal, engine=settings)


def start_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.1) -> Comparison:
    """Compare the time until a sandboxed process is ready with that of a free one, uncached.

    Args:
        rounds: Number of starts, at most seven.
        size: Height and width of the engine's input.
        bound: Promised ratio.
    """
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with _untrained(size) as bundle:
        with closing(_opened(bundle, 0)) as inside, closing(_opened(bundle, 1)) as outside:
            check = _same(inside, outside, image)

        def start_ms(free: int) -> float:
            begin = time.perf_counter_ns()
            with closing(_opened(bundle, free)):
                return (time.perf_counter_ns() - begin) / 1e6

        within, without = interleave(
            lambda: start_ms(0), lambda: start_ms(1), rounds=min(rounds, _STARTS)
        )
    left = Side(what="start in the sandbox, edge-s INT8", samples=within)
    right = Side(what="start outside", samples=without)
    ratio = left.median / right.median
    goal = Goal(what="start in the sandbox over outside", value=ratio, bound=bound)
    return compare(left, right, check=check, unit="ms", goal=goal)


@contextmanager
def _untrained(size: tuple[int, int]) -> Iterator[Bundle]:
    with tempfile.TemporaryDirectory() as folder:
        write_untrained(Path(folder) / "bundle", size)
        yield Bundle.open(Path(folder) / "bundle")


def _opened(bundle: Bundle, free: int) -> ProcessEngine:
    """Return a ready process of the bundle's OpenVINO engine; a free one has no sandbox."""
    spec = bundle_spec(bundle, "openvino", threads=THREADS, cached=False)

    def command(_: str, *arguments: str) -> list[str]:
        return python_command("benchmarks.micro.sandbox", *arguments)

    with ExitStack() as stack:
        if free:
            stack.enter_context(mock.patch.object(process, "python_command", command))
        engine = ProcessEngine(spec, timeout_ms=_TIMEOUT_MS, hang_ms=_TIMEOUT_MS)
    try:
        engine.wait_ready()
    except BaseException:
        engine.close()
        raise
    return engine


def _same(inside: ProcessEngine, outside: ProcessEngine, image: ImageU8) -> str:
    """Check that one process is in its sandbox, the other is not, and both score alike."""
    applied = inside.sandbox or Sandbox()
    if applied.missing or not applied.filtered or outside.sandbox != Sandbox():
        raise ParityError(
            "this kernel has no whole sandbox, or both processes are in one",
            expected="Landlock and a system call filter for one process",
            got="; ".join(applied.missing) or f"{outside.sandbox}",
        )
    scores = inside.infer(image).copy()
    if not np.array_equal(scores, outside.infer(image)):
        raise ParityError("the scores differ inside and outside the sandbox")
    return f"scores are equal; Landlock {applied.landlock} and a system call filter"


def _stay_free(_: Grants) -> Sandbox:
    return Sandbox()


if __name__ == "__main__":
    # The worker without its sandbox, which exists for this comparison alone.
    vars(worker)["enter"] = _stay_free
    sys.exit(worker.main(sys.argv[1:]))
