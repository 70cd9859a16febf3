"""Thermal protection: first a lower frame rate, then bypass, each with hysteresis."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge.status import Condition, Reason, ReasonKind, State
from edge.util.host import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


WARM_C, HOT_C = 90.0, 100.0
"""Temperatures from which every second frame is skipped, and from which the device bypasses.

Processors of carts throttle themselves at 95 to 105 degrees.
"""

HYSTERESIS_C = 5.0
"""Distance below its limit to which the temperature must fall before a level ends."""

_EVERY_NS = 1_000_000_000


def _aside(read: Callable[[], None]) -> threading.Thread | None:
    """Read in a separate thread: a sensor behind a slow controller may take as long as a frame."""
    thread = threading.Thread(target=read, name="heat", daemon=True)
    with suppress(RuntimeError):  # the machine lacks memory for it: try again in the next second
        thread.start()
        return thread
    return None


class ThermalMonitor:
    """Monitors the hottest thermal zone; reads it once a second without blocking.

    Args:
        root: Folder that contains `sys`.
        warm_c: Degrees Celsius from which the frame rate is reduced.
        hot_c: Degrees Celsius from which the device bypasses.
        clock: CLOCK_MONOTONIC in nanoseconds.
        aside: Runs a reading; returns the thread that runs it, or None if it is done.

    Attributes:
        celsius: The last reading; None if no zone can be read.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        warm_c: float = WARM_C,
        hot_c: float = HOT_C,
        clock: Callable[[], int] = time.monotonic_ns,
        aside: Callable[[Callable[[], None]], threading.Thread | None] = _aside,
    ) -> None:
        self._zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
        self._limits, self._clock = (warm_c, hot_c), clock
        self._level = self._next_ns = 0
        self._aside = aside
        self._reading: threading.Thread | None = None
        self.celsius: float | None = None

    def poll(self) -> None:
        """Start a reading if a second has passed and the last reading is done."""
        now = self._clock()
        if now < self._next_ns or (self._reading is not None and self._reading.is_alive()):
            return
        self._next_ns = now + _EVERY_NS
        self._reading = self._aside(self._read)

    def _read(self) -> None:
        read = [
            float(text) / 1000
            for zone in self._zones
            if (text := read_text(zone)) and _is_number(text)
        ]
        self.celsius = celsius = max(read, default=None)
        if celsius is None:
            return
        level = self._level
        while level < len(self._limits) and celsius >= self._limits[level]:
            level += 1
        while level and celsius < self._limits[level - 1] - HYSTERESIS_C:
            level -= 1
        self._level = level

    def keep_every(self) -> int:
        """Return n to process every n-th frame."""
        return 2 if self._level else 1

    def conditions(self) -> Iterable[Condition]:
        """Return the conditions for `edge.pipeline.state_machine.StateMachine.resolve`."""
        level, celsius = self._level, self.celsius
        if not level:
            return ()
        temperature = "unknown" if celsius is None else f"{celsius:.0f} C"
        if level == 1:
            warm = Reason(ReasonKind.WARM, f"{temperature}, every second frame")
            return (Condition(State.DEGRADED, warm),)
        return (Condition(State.BYPASS, Reason(ReasonKind.HOT, temperature)),)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()
