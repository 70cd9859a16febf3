"""Pauses between tries while the machine cannot start the student."""

from __future__ import annotations

FIRST_S, MAX_S = 0.25, 10.0
"""First and longest pause, seconds; each is twice the one before."""

TRIES = 5
"""Tries in a row after which a different bundle is tried, if the fault may spare it."""

PATIENCE_S = 60.0
"""Sum of the pauses after which a source that needs every frame is given up, seconds."""


class Backoff:
    """Counts failed tries and returns the pause after each."""

    def __init__(self) -> None:
        self.tries, self.waited_s = 0, 0.0

    @property
    def lasting(self) -> bool:
        """Whether the fault lasts so long that any other bundle is welcome."""
        return self.tries >= TRIES

    def pause_s(self) -> float:
        """Count a failed try; return the pause before the next one, seconds."""
        pause = min(FIRST_S * 2.0 ** min(self.tries, 16), MAX_S)
        self.tries += 1
        self.waited_s += pause
        return pause

    def reset(self) -> None:
        """Begin anew, after the student ran."""
        self.tries, self.waited_s = 0, 0.0
