"""The chaos run: its checks fail when they must, and a short real one harms a device."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.soak.chaos import KINDS, chaos, check_starts
from edge.status import State
from edge.telemetry.journal import Event

ROOT = Path(__file__).parents[2]


def journal(pid: int, *numbers: int) -> bytes:
    run = f"{pid:08x}"
    events = [Event(1, run, 0, "", "start", {"pid": pid})]
    events += [Event(number, run, number, "", "state", {}) for number in numbers]
    return b"".join(msgspec.json.encode(one) + b"\n" for one in events)


def test_each_start_has_its_lines() -> None:
    held = {"a": journal(7, 2, 3) + journal(8, 2), "b": journal(9, 2, 3, 4)}
    assert check_starts(held, [7, 8, 9, 10]).passed
    lost = check_starts({**held, "b": journal(9, 2, 4)}, [7, 8, 9])
    assert lost.failures == ["start 9: line 3 is lost"]
    double = check_starts({**held, "b": journal(9, 2, 2)}, [9])
    assert double.failures == ["start 9: line 2 is there twice"]
    assert not check_starts({}, [7]).passed


@pytest.mark.slow
@pytest.mark.alone
def test_a_device_that_is_harmed_runs_again() -> None:
    arguments = ["--source", "synthetic:?width=320&height=240&fps=15&frames=0"]
    arguments += ["--bundle", str(ROOT / "edge/bundles/edge-xs"), "--engine", "tflite"]
    done = chaos(arguments, seconds=45, every_s=2, fps=15, seed=5, calm_s=20)
    assert done.passed, done.checks
    assert set(done.injected) <= set(KINDS)
    assert sum(done.injected.values()) > 3
    assert done.starts > 1
    assert done.last.startswith(State.RUNNING.value)
