"""The running device: rate and age of frames at 1080p60 on two cores, and time to first mask."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.micro.device import write_clip, write_untrained
from benchmarks.micro.engines import SIZE
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.errors import ParityError
from edge.sinks.jsonl import FrameLine, read_frame_lines
from edge.util.host import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence

_FPS = 60.0
_RUNS = 3
_STARTS = 5
_SETTLE_S = 2.0
"""Seconds after the first mask in which caches and processor clocks settle."""
_CORES = 2
# OpenVINO and the device count the cores that a process may use, and child processes inherit them.
_ON_CORES = (
    "import os, sys; os.sched_setaffinity(0, {cores}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Run(NamedTuple):
    """One run, measured from two seconds after its first mask on.

    Attributes:
        rate: Frames per second that the student processed.
        ages_ms: Age of each of these frames after processing.
        withheld: Share of these frames whose mask was withheld.
    """

    rate: float
    ages_ms: list[float]
    withheld: float


def rate_at_60(
    rounds: int, *, size: tuple[int, int] = SIZE, seconds: float = 20.0, bound: float = 57.0
) -> Comparison:
    """Measure how many frames per second of a 1080p60 source are processed on two cores.

    Args:
        rounds: Number of runs, at most three.
        size: Height and width of the student's input.
        seconds: Seconds of each run.
        bound: Promised frames per second.
    """
    runs = watched(min(rounds, _RUNS), size, seconds)
    left = Side(what="edge-difom run, edge-s INT8", samples=[run.rate for run in runs])
    goal = Goal(what="frames per second", value=left.median, bound=bound, at_least=True)
    right = Side(what="the source", samples=[_FPS] * len(runs))
    return compare(
        left, right, check=_check_of(runs), unit="fps", goal=goal, cores=_CORES, seconds=seconds
    )


def age_at_60(rounds: int, *, size: tuple[int, int] = SIZE, seconds: float = 20.0) -> Comparison:
    """Report the age of these frames after processing: p99 compared with the median."""
    runs = watched(min(rounds, _RUNS), size, seconds)
    left, right = (
        Side(
            what=f"age of a frame, {name}",
            samples=[float(np.quantile(run.ages_ms, q)) for run in runs],
        )
        for name, q in (("p99", 0.99), ("median", 0.5))
    )
    return compare(left, right, check=_check_of(runs), unit="ms", cores=_CORES, seconds=seconds)


def start_time(rounds: int, *, size: tuple[int, int] = SIZE) -> Comparison:
    """Report the time from process start to first mask, with and without a cached compiled model.

    Args:
        rounds: Number of starts of each kind, at most five.
        size: Height and width of the student's input.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_untrained(folder / "bundle", size)
        write_clip(folder / "clip.mp4", 2)
        compiled_cache = folder / "kept"
        _start_ms(folder, compiled_cache)
        entries = [path for path in compiled_cache.rglob("*") if path.is_file()]
        if not entries:
            raise ParityError(
                "no compiled model is kept", expected="a file in the cache", got="none"
            )

        def anew() -> float:
            with tempfile.TemporaryDirectory() as empty:
                return _start_ms(folder, Path(empty))

        rounds = min(rounds, _STARTS)
        cached, compiled = interleave(
            lambda: _start_ms(folder, compiled_cache), anew, rounds=rounds
        )
    left = Side(what="compiled model kept", samples=cached)
    right = Side(what="compiled anew", samples=compiled)
    check = "the first frame of each start has its own mask, and the compiled model is in the cache"
    return compare(left, right, check=check, unit="ms", student="edge-s INT8, OpenVINO", size=size)


@cache
def watched(runs: int, size: tuple[int, int], seconds: float) -> tuple[Run, ...]:
    """Run the device on 1080p60.

    Raises:
        ParityError: Frames were repeated, out of order, or without masks.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_untrained(folder / "bundle", size)
        return tuple(_watch(folder, seconds) for _ in range(runs))


def judge(lines: Sequence[FrameLine]) -> Run:
    """Evaluate the lines of a run.

    Raises:
        ParityError: As for `watched`.
    """
    numbers = [line.frame for line in lines]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise ParityError("frames are out of order", expected="increasing numbers", got="others")
    first = next((line.captured_ns for line in lines if line.reason is None), None)
    begin = None if first is None else first + _SETTLE_S * 1e9
    settled = [line for line in lines if begin is not None and line.captured_ns >= begin]
    looked = [line for line in settled if "infer" in line.stages_ms]
    if len(looked) < 2:
        reasons = dict(Counter((line.reason or "").partition(":")[0] for line in lines))
        raise ParityError(
            "the student processed few frames", expected="scores in time", got=f"{reasons}"
        )
    span_s = (settled[-1].captured_ns - settled[0].captured_ns) / 1e9
    return Run(
        rate=(len(looked) - 1) / span_s,
        ages_ms=[line.age_ms for line in looked],
        withheld=sum(line.reason is not None for line in looked) / len(looked),
    )


def _watch(folder: Path, seconds: float) -> Run:
    log = folder / "frames.jsonl"
    source = f"synthetic:?width=1920&height=1080&fps={_FPS:g}&frames=0"
    _run(
        folder,
        ["--source", source, "--seconds", f"{seconds + _SETTLE_S:g}", "--sink", f"jsonl:{log}"],
    )
    return judge(read_frame_lines(log))


def _start_ms(folder: Path, compiled_cache: Path) -> float:
    """Measure the milliseconds from the start of the process to the first mask."""
    log = folder / "frames.jsonl"
    arguments = [
        "--source",
        f"file:{folder / 'clip.mp4'}",
        "--frames",
        "1",
        "--sink",
        f"jsonl:{log}",
    ]
    begin = time.monotonic_ns()
    _run(folder, arguments, {"CACHE_DIRECTORY": str(compiled_cache)})
    (line,) = read_frame_lines(log)
    if line.reason is not None or "infer" not in line.stages_ms:
        raise ParityError("the first frame has no mask", expected="scores", got=f"{line.reason}")
    return (line.captured_ns + line.age_ms * 1e6 - begin) / 1e6


def _run(folder: Path, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
    cores = sorted(usable_cpus())[:_CORES]
    command = [
        *(
            sys.executable,
            "-c",
            _ON_CORES.format(cores=cores),
            "-m",
            "edge_difom",
            "run",
            "--force",
        ),
        *("--bundle", str(folder / "bundle"), "--engine", "openvino", *arguments),
    ]
    changed = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=changed)
    if done.returncode:
        raise ParityError("edge-difom run fails", expected="exit code 0", got=done.stderr.strip())


def _check_of(runs: Sequence[Run]) -> str:
    worst = max(run.withheld for run in runs)
    return f"frames rise, each once; masks of at most {worst:.1%} of them were withheld"
