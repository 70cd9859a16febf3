"""The environment guard: a quiet machine is valid, and each single fault has its own reason."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from typing import Any

import pytest

from edge.bench.measure.environment import (
    EnvironmentGuard,
    MachineSnapshot,
    busy_seconds,
    judge,
    take_snapshot,
)
from edge.util.host import usable_cpus

BEFORE = MachineSnapshot(
    at_s=100.0,
    cores=4,
    busy_s=5000.0,
    own_s=10.0,
    swapped_pages=70,
    heat_events=3,
    quota_events=9,
    governor=("performance",),
)
QUIET = dataclasses.replace(BEFORE, at_s=110.0, busy_s=5022.0, own_s=30.0)


def test_a_quiet_machine_is_valid() -> None:
    verdict = judge(BEFORE, QUIET)
    assert verdict.valid
    assert verdict.line == "VALID"
    assert verdict.reason is None
    assert verdict.unknown == []
    assert verdict.other_cpu_per_core == pytest.approx(2 / 40)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"busy_s": 5029.0}, "other processes used 0.23"),
        ({"swapped_pages": 71}, "swapped 1 pages"),
        ({"heat_events": 5}, "heat 2 times"),
        ({"quota_events": 10}, "quota"),
        ({"governor": ("powersave",)}, "changed from performance to powersave"),
    ],
)
def test_each_fault_invalidates_with_its_own_reason(fault: dict[str, Any], word: str) -> None:
    verdict = judge(BEFORE, dataclasses.replace(QUIET, **fault))
    assert not verdict.valid
    assert verdict.line.startswith("INVALID: ")
    assert word in verdict.line
    assert ";" not in verdict.line


def test_faults_add_up() -> None:
    verdict = judge(BEFORE, dataclasses.replace(QUIET, busy_s=5060.0, swapped_pages=99))
    assert verdict.reason is not None
    assert "other processes" in verdict.reason
    assert "swapped 29 pages" in verdict.reason


def test_the_harness_own_load_is_not_held_against_it() -> None:
    # All four cores busy for ten seconds, by this process alone.
    after = dataclasses.replace(QUIET, busy_s=5040.0, own_s=50.0)
    assert judge(BEFORE, after).other_cpu_per_core == 0
    assert judge(BEFORE, dataclasses.replace(after, own_s=31.0)).valid is False


@pytest.mark.parametrize(
    "name", ["busy_s", "swapped_pages", "heat_events", "quota_events", "governor"]
)
def test_what_cannot_be_read_is_unknown_and_does_not_invalidate(name: str) -> None:
    missing: dict[str, Any] = {name: None}
    verdict = judge(BEFORE, dataclasses.replace(QUIET, **missing))
    assert verdict.valid
    assert len(verdict.unknown) == 1


def test_busy_seconds_counts_use_and_theft_on_usable_cores() -> None:
    """Busy seconds counts use and theft on the usable processors."""
    stat = (
        "cpu  9 9 9 9 9 9 9 9 9 9\n"
        "cpu0 100 10 20 5000 300 1 2 4 50 0\n"
        "cpu1 1000 0 0 0 0 0 0 0 0 0\n"
        "intr 1 2 3\n"
    )
    assert busy_seconds(stat, {0}, 100) == pytest.approx(1.37)
    assert busy_seconds(stat, {0, 1}, 100) == pytest.approx(11.37)
    assert busy_seconds(stat, {0, 2}, 100) is None
    assert busy_seconds("", {0}, 100) is None


def test_the_guard_brackets_its_block() -> None:
    snapshots = iter([BEFORE, QUIET])
    with EnvironmentGuard(lambda: next(snapshots)) as guard:
        pass
    assert guard.verdict == judge(BEFORE, QUIET)


def test_this_machine_can_be_read() -> None:
    first, second = take_snapshot(), take_snapshot()
    assert first.cores >= 1
    assert second.at_s >= first.at_s
    assert second.own_s >= first.own_s
    assert first.busy_s is None or second.busy_s is None or second.busy_s >= first.busy_s


@pytest.mark.slow
def test_real_load_of_other_processes_is_seen() -> None:
    # One process that spins for every core that this one may use; the guard must name other
    # processes.
    code = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", code]) for _ in usable_cpus()]
    try:
        time.sleep(0.5)
        with EnvironmentGuard() as guard:
            time.sleep(1.5)
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    assert not guard.verdict.valid
    assert guard.verdict.reason is not None
    assert "other processes used" in guard.verdict.reason
    assert guard.verdict.other_cpu_per_core is not None
    assert guard.verdict.other_cpu_per_core > 0.3
