"""A fake engine with its own clock and quiet machine, and the measurement of a stream with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge.bench.measure.environment import MachineSnapshot
from edge.bench.measure.sensors import Reading
from edge.bench.measure.stream import Load, Stream, run_load
from edge.bench.report import journal as j
from edge.bench.report.summary import summarize
from edge.bundle import manifest as m
from edge.util.host import read_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.bench.report.record import LoadReport
    from edge.frame import ImageU8

MANIFEST = m.Manifest(
    schema_version=m.SCHEMA_VERSION,
    name="fake",
    intended_use="",
    license="",
    input=m.Input(height=16, width=16),
    output=m.Output(height=8, width=8),
    engines=[],
    golden=m.GoldenSet(frames=[]),
    parity=[],
    accuracy=[],
    provenance=m.Provenance(
        student="", teachers=[], recipe="", data={}, versions={}, seed=0, created="2026-01-01"
    ),
    files={},
)
IMAGES = [np.full((40, 60, 3), value, np.uint8) for value in (10, 200)]
MAX = Load("max", None)


class TimedEngine:
    """An engine with a clock of its own: an inference takes 1 ms, and more on some calls.

    Args:
        stall_every: Every so many calls one takes `stall_ms` more.
        stall_ms: How much more.
        extra_ms: Number of the call, from 1 -> how much more it takes.
        base_ms: What each takes.
    """

    input_buffer = None

    name = "openvino"
    input_size = (16, 16)

    def __init__(
        self,
        stall_every: int = 0,
        stall_ms: float = 20.0,
        extra_ms: Callable[[int], float] = lambda _: 0.0,
        base_ms: float = 1.0,
    ) -> None:
        self.calls = self.now_ns = 0
        self.stall_every, self.stall_ms, self.extra_ms, self.base_ms = (
            stall_every,
            stall_ms,
            extra_ms,
            base_ms,
        )

    def clock(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def infer(self, image: ImageU8) -> ImageU8:
        self.calls += 1
        stalls = self.stall_every and self.calls % self.stall_every == 0
        milliseconds = self.base_ms + self.extra_ms(self.calls) + (self.stall_ms if stalls else 0)
        self.now_ns += round(milliseconds * 1e6)
        return np.full((8, 8), int(image[0, 0, 0]), np.uint8)

    def settings(self) -> dict[str, Any]:
        return {"threads": 1}

    def close(self) -> None:
        pass

    def machine(self, **reading: Any) -> j.Sample:
        """A quiet machine at this engine's time: nothing but this process used it."""
        seconds = self.now_ns / 1e9
        snapshot = MachineSnapshot(
            at_s=seconds,
            cores=1,
            busy_s=seconds,
            own_s=seconds,
            swapped_pages=0,
            governor=("performance",),
        )
        return j.Sample(snapshot=snapshot, reading=Reading(**reading))


def header(**changes: Any) -> j.Header:
    values: dict[str, Any] = {
        "seconds": 1.0,
        "bundle": "fake",
        "digest": "0" * 64,
        "engine": "openvino",
        "precision": "int8",
        "threads": 1,
        "frame_size": (40, 60),
        "compile_ms": 1.0,
        "first_inference_ms": 1.0,
        "settings": {"threads": 1},
        "accuracy": [],
        "parity": [],
        "golden": None,
        "work": None,
        "profile": None,
        "machine": {},
        "sensors_missing": [],
        "energy_range": {},
        "device": read_device(),
        "versions": {},
        "command": "",
        "created": "",
    }
    return j.Header(**(values | changes))


def lines_of(engine: TimedEngine, seconds: float, load: Load = MAX, **more: Any) -> list[Any]:
    stream = Stream(
        engine,
        IMAGES,
        MANIFEST,
        clock=engine.clock,
        sleep=engine.sleep,
        cpu_clock=lambda: engine.now_ns,
    )
    more.setdefault("sample", engine.machine)
    return list(run_load(stream, load, seconds, **more))


def run(engine: TimedEngine, seconds: float = 0.2, load: Load = MAX, **more: Any) -> LoadReport:
    return summarize([header(seconds=seconds), *lines_of(engine, seconds, load, **more)]).first
