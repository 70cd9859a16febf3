"""Too hot: first a lower rate, then bypass, each with hysteresis."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.device_info import read_text
from edge.types import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.pipeline.states import Condition

WARM_C, HOT_C = 90.0, 100.0
"""From here on every second frame is taken, and none; processors of carts throttle by themselves at 95 to 105."""

HYSTERESIS_C = 5.0
"""So far below its limit the temperature must fall before a level ends."""

_EVERY_NS = 1_000_000_000


class Heat:
    """Follows the hottest thermal zone, read once a second.

    Args:
        root: Where `sys` is.
        warm_c: Degrees Celsius from which the rate is lowered.
        hot_c: Degrees Celsius from which the device bypasses.
        clock: CLOCK_MONOTONIC in nanoseconds.

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
    ) -> None:
        self._zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
        self._limits, self._clock = (warm_c, hot_c), clock
        self._level = self._next_ns = 0
        self.celsius: float | None = None

    def poll(self) -> None:
        """Read the zones where a second has passed."""
        now = self._clock()
        if now < self._next_ns:
            return
        self._next_ns = now + _EVERY_NS
        read = [float(text) / 1000 for zone in self._zones if (text := read_text(zone)) and _is_number(text)]
        self.celsius = max(read, default=None)
        if self.celsius is None:
            return
        while self._level < len(self._limits) and self.celsius >= self._limits[self._level]:
            self._level += 1
        while self._level and self.celsius < self._limits[self._level - 1] - HYSTERESIS_C:
            self._level -= 1

    def keep_every(self) -> int:
        """Take one of so many frames."""
        return 2 if self._level else 1

    def conditions(self) -> Iterable[Condition]:
        """What `edge.pipeline.states.StateMachine.settle` takes."""
        if self._level == 1:
            return ((State.DEGRADED, f"warm: {self.celsius:.0f} C, every second frame"),)
        return ((State.BYPASS, f"hot: {self.celsius:.0f} C"),) if self._level else ()


def _is_number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()
