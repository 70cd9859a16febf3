"""What `edge-difom run` tells while it runs: changes of state, and a status line on a terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.frame import Frame, Result
    from edge.status import Condition, Status

EVERY_NS = 1_000_000_000
"""Time between two status lines; the rate is counted over it, nanoseconds."""


class LiveStatus:
    """An observer of the frame loop that prints; it never influences the state.

    Args:
        changes: Whether each change of the state or of the kind of its reason is a line, as for a
            live source. A clip may change its state hundreds of times.
        line: Whether to print the status line; by default only if a person is watching.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self,
        *,
        changes: bool,
        line: bool | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._changes, self._clock = changes, clock
        self._line = _watched() if line is None else line
        self._printed_state: tuple[object, object] | None = None
        self._next_ns = clock() + EVERY_NS
        self._frame_times: deque[int] = deque()
        self._newest: tuple[float, Result] | None = None

    def conditions(self) -> Iterable[Condition]:
        """Return no conditions."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Print what is new."""
        now = self._clock()
        if self._changes and (status.state, status.kind) != self._printed_state:
            self._printed_state = (status.state, status.kind)
            console.say(f"state: {status.state}" + (f", {status.text}" if status.text else ""))
        if not self._line:
            return
        if frame is not None and result is not None:
            self._frame_times.append(now)
            end = max((end for _, end in frame.stamps.values()), default=now)
            self._newest = (end - frame.captured_ns) / 1e6, result
        if now >= self._next_ns:
            self._next_ns = now + EVERY_NS
            while self._frame_times and self._frame_times[0] <= now - EVERY_NS:
                self._frame_times.popleft()
            console.status_line(status_text(len(self._frame_times), self._newest, status))


def status_text(rate: int, newest: tuple[float, Result] | None, status: Status) -> str:
    """Write the status line.

    Args:
        rate: Frames of the last second.
        newest: Age in milliseconds and result of the newest frame; None before the first.
        status: Status of the device.

    Returns:
        Rate, age, state and found regions. Of a frame that was not judged, a dash stands in place
        of their number, with the reason.
    """
    age, region_count, why = "-", "-", status.text
    if newest is not None and rate:
        age_ms, result = newest
        age = f"{age_ms:.0f} ms"
        if result.reason is None:
            region_count = str(len(result.regions))
            if result.boxes:
                region_count += f" and {len(result.boxes)} as a box"
        else:
            why = str(result.reason)
    reason = f" ({why})" if why else ""
    return f"{rate}/s  age {age}  {status.state}{reason}  found {region_count}"


def _watched() -> bool:
    """Whether stdout and stderr are terminals."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
