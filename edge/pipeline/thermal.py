"""Too hot: first a lower rate, then bypass, each with hysteresis."""

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
"""From here on every second frame is taken, and none; processors of carts throttle by themselves at 95 to 105."""

HYSTERESIS_C = 5.0
"""So far below its limit the temperature must fall before a level ends."""

_EVERY_NS = 1_000_000_000


def _aside(read: Callable[[], None]) -> threading.Thread | None:
    """Read in a thread of its own: a sensor behind a slow controller may take as long as a frame."""
    thread = threading.Thread(target=read, name="heat", daemon=True)
    with suppress(RuntimeError):  # a machine without memory for it: the next second has another try
        thread.start()
        return thread
    return None


class ThermalMonitor:
    """Follows the hottest thermal zone, read once a second; nobody waits for it.

    Args:
        root: Where `sys` is.
        warm_c: Degrees Celsius from which the rate is lowered.
        hot_c: Degrees Celsius from which the device bypasses.
        clock: CLOCK_MONOTONIC in nanoseconds.
        aside: Runs a reading; gives the thread that does, or None when it is done.

    Attributes:
        celsius: What was read last, None where no zone can be read.
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
        """Have the zones read where a second has passed and the last reading is done."""
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
        """Take one of so many frames."""
        return 2 if self._level else 1

    def conditions(self) -> Iterable[Condition]:
        """What `edge.pipeline.state_machine.StateMachine.settle` takes."""
        level, celsius = self._level, self.celsius
        if not level:
            return ()
        shown = "unknown" if celsius is None else f"{celsius:.0f} C"
        if level == 1:
            warm = Reason(ReasonKind.WARM, f"{shown}, every second frame")
            return (Condition(State.DEGRADED, warm),)
        return (Condition(State.BYPASS, Reason(ReasonKind.HOT, shown)),)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()
