"""Overhead of the latency harness: the time between two frames that no frame's latency includes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.micro.device import Recorded, untrained_manifest
from benchmarks.record import Comparison, Goal, Side, compare
from edge.bench.measure.sampler import Sampler
from edge.bench.measure.stream import Load, Stream, phantom_images, run_load
from edge.bench.report.journal import BenchJournal, Second
from edge.errors import ParityError

if TYPE_CHECKING:
    from edge.frame import ImageU8

_RUNS = 5


def harness_cost(
    rounds: int, *, size: tuple[int, int] = (64, 64), seconds: float = 2.2, bound: float = 20.0
) -> Comparison:
    """Compare the harness's microseconds per frame with the frame itself.

    The harness stamps and keeps samples and writes a record. The engine answers at once, so that as
    many frames as possible pass in a second.

    Args:
        rounds: Maximum number of runs.
        size: Height and width of frames and engine.
        seconds: Seconds of each run.
        bound: Promised microseconds.

    Raises:
        ParityError: Frames are lost or counted twice.
    """
    scores: ImageU8 = np.zeros((size[0] // 4, size[1] // 4), np.uint8)
    engine = Recorded(size, scores)
    costs, frames_us = [], []
    counted = 0
    with Sampler() as sampler, tempfile.TemporaryDirectory() as folder:
        for number in range(max(2, min(rounds, _RUNS))):
            stream = Stream(engine, phantom_images(size), untrained_manifest(size, scores.shape))
            with BenchJournal(Path(folder) / f"{number}.jsonl") as journal:
                for line in run_load(
                    stream, Load("max", None), seconds, sample=sampler.sample, newest=sampler.newest
                ):
                    journal.add(line)
            lines = [line for line in journal.lines if isinstance(line, Second)]
            frame_ns = [value for line in lines for value in line.whole_ns()]
            between = lines[-1].at_ns - sum(frame_ns)
            if between < 0 or not all(frame_ns):
                raise ParityError(
                    "frames overlap", expected="frames one after the other", got=f"{between} ns"
                )
            costs.append(between / len(frame_ns) / 1e3)
            frames_us.append(sum(frame_ns) / len(frame_ns) / 1e3)
            counted += len(frame_ns)
    left = Side(what="the harness, per frame", samples=costs)
    right = Side(what=f"a frame of {size[1]}x{size[0]} without an engine", samples=frames_us)
    goal = Goal(what="microseconds of the harness per frame", value=left.median, bound=bound)
    check = f"{counted} frames one after the other, their stages summing to the whole"
    return compare(left, right, check=check, unit="us", goal=goal, seconds=seconds)
