"""The controller's clock as the host estimates it from the messages that state it."""

from __future__ import annotations

from collections import deque

_DIFFERENCES = 2
"""Messages that are compared: with a status every 250 ms, those of half a second.

A controller without a crystal runs wrong by some percent, which is 15 ms in that time.
"""

_MODULUS = 1 << 32


class ControllerClock:
    """The difference between the controller's clock and the host's.

    A message that was held up on its way makes the controller's clock look late, never early, so
    the largest of the last differences is the best one. An estimate that is late makes heartbeats
    look older than they are, which is safe.
    """

    def __init__(self) -> None:
        self._first = 0
        self._differences: deque[int] = deque(maxlen=_DIFFERENCES)

    def restart(self) -> None:
        """Forget everything: the controller was started again."""
        self._differences.clear()

    def observe(self, clock_ms: int, now_ms: int) -> None:
        """Note the clock that a message states.

        Args:
            clock_ms: Clock of the controller, modulo 2^32.
            now_ms: Clock of the host when the message arrived.
        """
        if not self._differences:
            self._first = clock_ms - now_ms
        moved = (clock_ms - now_ms - self._first) % _MODULUS
        self._differences.append(moved if moved < _MODULUS // 2 else moved - _MODULUS)

    def at(self, host_ms: int) -> int:
        """Return the controller's clock, modulo 2^32, at a time of the host's clock."""
        return (host_ms + self._first + max(self._differences, default=0)) % _MODULUS
