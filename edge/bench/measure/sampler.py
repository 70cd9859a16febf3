"""Sample the machine once a second in a separate thread, so that slow sensors delay no frame."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge.bench.measure.environment import take_snapshot
from edge.bench.measure.sensors import Sensors
from edge.bench.report.journal import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.bench.measure.environment import MachineSnapshot

_STEADY_S, _STEADY_C = 300.0, 0.5
_MIN_SOAK_S = 600.0


class Sampler:
    """Keeps the newest sample of the machine; a context manager.

    Args:
        snapshot: Reads the counters for the environment guard.
        sensors: The sensors of the machine.
        every_s: Time between samples.
    """

    def __init__(
        self,
        snapshot: Callable[[], MachineSnapshot] = take_snapshot,
        sensors: Sensors | None = None,
        every_s: float = 1.0,
    ) -> None:
        self.sensors = sensors or Sensors()
        self._snapshot, self._every_s = snapshot, every_s
        self._stop = threading.Event()
        self._newest: Sample | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="bench-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def sample(self) -> Sample:
        """Sample the machine now."""
        return Sample(snapshot=self._snapshot(), reading=self.sensors.read())

    def newest(self) -> Sample:
        """Return the newest sample of the thread."""
        return self._newest or self.sample()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._newest = self.sample()


class Soak:
    """Detects a steady temperature: a change below 0.5 degrees in 5 minutes, after 10 minutes."""

    def __init__(self) -> None:
        self._temperatures: list[tuple[float, float]] = []

    def settled(self, seconds: float, sample: Sample) -> bool:
        """Add a sample, `seconds` after the start; return whether the temperature has settled."""
        hottest = sample.reading.hottest_c
        if hottest is None:
            return False
        self._temperatures.append((seconds, hottest))
        window = [value for at, value in self._temperatures if at >= seconds - _STEADY_S]
        return seconds >= _MIN_SOAK_S and max(window) - min(window) < _STEADY_C
