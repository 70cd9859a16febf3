"""A light cue for a finding: the lamp blinks for a moment, within limits that nobody can exceed.

Protocol 2 has no message for a sound, and none that ends by itself: the host ends a cue by setting
the lamp again. If the host falls silent during a cue, the controller shows its own lamp.
"""

from __future__ import annotations

CUE_MS = 2000
"""How long a cue lasts, milliseconds."""

CUE_PERIOD_MS = 500
"""Blink period of a cue. Two flashes a second stay below the three at which flashes may start a
seizure (WCAG 2.2, success criterion 2.3.1)."""

CUE_EVERY_MS = 10_000
"""Shortest time from one cue to the next, milliseconds; what is asked for earlier is left out."""


class Cue:
    """When the lamp blinks; not thread-safe."""

    def __init__(self) -> None:
        self._begin_ms: int | None = None

    def ask(self, now_ms: int) -> bool:
        """Begin a cue; return whether it was long enough since the last one."""
        if self._begin_ms is not None and now_ms - self._begin_ms < CUE_EVERY_MS:
            return False
        self._begin_ms = now_ms
        return True

    def shown(self, now_ms: int) -> bool:
        """Whether a cue is shown now."""
        return self._begin_ms is not None and now_ms - self._begin_ms < CUE_MS
