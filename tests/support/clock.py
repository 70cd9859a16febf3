"""A clock for tests that stands still unless it is moved."""

from __future__ import annotations


class FakeClock:
    """CLOCK_MONOTONIC in nanoseconds; also takes the place of `sleep`.

    Args:
        step_ns: How much each reading moves it.
        start_ns: Its first reading.
    """

    def __init__(self, *, step_ns: int = 0, start_ns: int = 1_000_000_000_000) -> None:
        self.now = start_ns
        self._step_ns = step_ns

    def __call__(self) -> int:
        self.now += self._step_ns
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def spend(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1e6)
