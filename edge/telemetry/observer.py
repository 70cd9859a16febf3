"""Reports the frame loop to the journal and the metrics; no call blocks."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from edge import __version__
from edge.status import State
from edge.telemetry.counters import Numbers
from edge.telemetry.journal import Journal
from edge.telemetry.metrics_file import MetricsFile
from edge.util.extras import require
from edge.util.host import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.record_header import RecordHeader
    from edge.status import Condition, Status

COUNTERS_S = 60.0
"""Time between two counter events in the journal, seconds."""


class Telemetry:
    """Journal and metrics of a run; a context manager and an observer of the frame loop.

    All calls come from one thread.

    Args:
        log: File of the journal; None for no journal.
        metrics: File of the metrics; None for no metrics.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: The journal cannot be created.
        MissingDependencyError: The metrics need a package that is not installed.
    """

    def __init__(
        self,
        log: Path | None = None,
        metrics: Path | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.numbers = Numbers()
        self._clock = clock
        if metrics is not None:
            require("prometheus_client")
        self._journal = Journal(log, clock=clock) if log is not None else None
        self._metrics = MetricsFile(metrics, self.numbers) if metrics is not None else None
        self._status: Status | None = None
        self._last_index: int | None = None
        self._next_ns = clock() + round(COUNTERS_S * 1e9)
        self.event(
            "start",
            version=__version__,
            pid=os.getpid(),
            boot=(read_text("/proc/sys/kernel/random/boot_id") or "").strip(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The last file must not say that it still runs.
        self.numbers.state = self.numbers.found = None
        self.event("stop", error="" if error is None else f"{type(error).__name__}: {error}")
        self.close()

    def conditions(self) -> Iterable[Condition]:
        """Return no conditions: telemetry never influences the device state."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Record one iteration; `frame` and `result` are None if no frame was available."""
        self.status(status)
        if frame is not None and result is not None:
            self.frame(frame, result)
        elif status.state is State.NO_SIGNAL:
            self.numbers.found = None

    def frame(self, frame: Frame, result: Result) -> None:
        """Count a frame whose stages are all stamped."""
        numbers = self.numbers
        numbers.frames += 1
        if self._last_index is not None and frame.index > self._last_index:
            numbers.dropped += frame.index - self._last_index - 1
        self._last_index = frame.index
        if result.regions:
            numbers.with_mask += 1
        numbers.found = None
        if result.reason is None:
            numbers.judged += 1
            numbers.found = len(result.regions)
        else:
            numbers.withhold(str(result.reason.kind))
        last = frame.captured_ns
        for stage, (begin, end) in frame.stamps.items():
            numbers.stages[str(stage)].add((end - begin) / 1e6)
            last = max(last, end)
        numbers.age.add((last - frame.captured_ns) / 1e6)
        self._minute()

    def status(self, status: Status) -> None:
        """Record the status; a change of the state or of the kind of reason is an event."""
        before, self._status = self._status, status
        if before is not status and (
            before is None or before.state is not status.state or before.kind is not status.kind
        ):
            self.numbers.state = status.state
            self.numbers.changes += 1
            self.event(
                "state",
                state=status.state.value,
                reason=status.text,
                since_ns=status.since_ns,
                before=before.state.value if before is not None else "",
            )
        self._minute()

    def event(self, kind: str, /, **details: object) -> None:
        """Record an event in the journal.

        Args:
            kind: Kind of the event, such as `restart`, `fault` or `source`.
            **details: Plain values; anything else is recorded by its type only.
        """
        if self._journal is not None:
            self._journal.event(kind, **details)

    def describe(self, header: RecordHeader) -> None:
        """Receive what the numbers are of."""
        self.numbers.header = header

    def counters(self, values: Mapping[str, int]) -> None:
        """Replace the external counters; the failures of journal and metrics file are added.

        Args:
            values: `origin.event`, such as `source.corrupt`, to how often it happened since the
                start.
        """
        self.numbers.counters = {**values, **self._own_counters()}

    def gauges(self, values: Mapping[str, float]) -> None:
        """Replace the last measurements, such as `temperature_celsius`."""
        self.numbers.gauges = dict(values)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is waiting, for at most `timeout` seconds."""
        begin = time.monotonic()
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close(timeout)
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.close(max(0.1, timeout - (time.monotonic() - begin)))

    def _own_counters(self) -> dict[str, int]:
        own: dict[str, int] = {}
        if self._journal is not None:
            own |= {
                "journal.dropped": self._journal.dropped,
                "journal.failed": self._journal.failed,
            }
        if self._metrics is not None:
            own["metrics.failed"] = self._metrics.failed
        return own

    def _minute(self) -> None:
        now = self._clock()
        if now < self._next_ns:
            return
        self._next_ns = now + round(COUNTERS_S * 1e9)
        numbers = self.numbers
        self.event(
            "counters",
            frames=numbers.frames,
            dropped=numbers.dropped,
            judged=numbers.judged,
            with_mask=numbers.with_mask,
            withheld=dict(numbers.withheld),
            counters=dict(numbers.counters),
            gauges=dict(numbers.gauges),
        )
