"""A real process is throttled while it measures: by its control group, and by stop signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Throttle = Callable[[int], AbstractContextManager[None]]

pytestmark = [pytest.mark.slow, pytest.mark.alone]

WINDOW_S, SECONDS = 2, 6
# Frames of 4 ms of CPU, whatever the clock on the wall does; windows of the retention are short,
# the rule is the same.
BENCH = f"""
import sys, time
import numpy as np
from edge.bench.report import summary
from edge.bench.report.journal import Second
from edge.bench.measure.sampler import Sampler
from edge.bench.measure.stream import Load, Stream, run_load
from tests.support.bench_stream import IMAGES, MANIFEST, TimedEngine, header

class Spinning(TimedEngine):
    def infer(self, image):
        until = time.thread_time_ns() + 4_000_000
        while time.thread_time_ns() < until:
            pass
        return np.zeros((8, 8), np.uint8)

summary._RETENTION_NS = {WINDOW_S} * 10**9
lines = [header(seconds={SECONDS})]
with Sampler() as sampler:
    stream = Stream(Spinning(), IMAGES, MANIFEST)
    for line in run_load(stream, Load("max", None), {SECONDS}, sample=sampler.sample):
        lines.append(line)
        if isinstance(line, Second):
            print("second", flush=True)
report = summary.summarize(lines).first
print(report.retention, report.series[0].p50_ms, report.series[-1].p50_ms)
"""


@contextmanager
def stopped_and_continued(process: int) -> Iterator[None]:
    """2 ms in which it runs, 18 in which it does not, and so on until it is gone."""
    ended = threading.Event()

    def loop() -> None:
        with suppress(ProcessLookupError):
            while not ended.is_set():
                os.kill(process, signal.SIGSTOP)
                time.sleep(0.018)
                os.kill(process, signal.SIGCONT)
                time.sleep(0.002)

    helper = threading.Thread(target=loop)
    helper.start()
    try:
        yield
    finally:
        ended.set()
        helper.join()


@contextmanager
def quota(process: int) -> Iterator[None]:
    """A tenth of a core, in periods of 20 ms, by the control group of either version."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").is_file()
    root = Path("/sys/fs/cgroup") if unified else Path("/sys/fs/cgroup/cpu")
    group = root / f"edge-difom-{process}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            if unified:
                (group / "cpu.max").write_text("2000 20000")
            else:
                (group / "cpu.cfs_period_us").write_text("20000")
                (group / "cpu.cfs_quota_us").write_text("2000")
            (group / "cgroup.procs").write_text(str(process))
        except OSError as error:
            pytest.skip(f"no quota can be set here: {error}")
        yield
    finally:
        group.rmdir()


def retention(throttled_by: Throttle | None = None) -> tuple[float, float, float]:
    """Retention, and p50 of first and last second, of a run throttled in its second half."""
    root = Path(__file__).parents[3]
    with (
        ExitStack() as stack,
        subprocess.Popen(
            [sys.executable, "-c", BENCH], stdout=subprocess.PIPE, text=True, cwd=root
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for number, line in enumerate(process.stdout, 1):
                if line.strip() != "second":
                    ratio, first, last = (float(word) for word in line.split())
                    return ratio, first, last
                if number == SECONDS - WINDOW_S - 1 and throttled_by is not None:
                    stack.enter_context(throttled_by(process.pid))
        finally:
            process.kill()
    raise AssertionError("the run ended without a report")


def test_a_process_that_is_left_alone_holds_its_speed() -> None:
    ratio, first, last = retention()
    assert 0.6 < ratio < 1.6
    assert first >= 4
    assert last >= 4


@pytest.mark.parametrize("throttled_by", [stopped_and_continued, quota])
def test_a_throttled_process_shows_in_the_retention(throttled_by: Throttle) -> None:
    ratio, first, last = retention(throttled_by)
    assert ratio > 2
    assert last > 2 * first
