"""Writes the metrics file in a thread.

Once a second the counters of the frame loop are written to a file that is renamed into place, so
that readers see complete files. Neither readers nor the disk can slow down the frame loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge.util.extras import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from edge.telemetry.counters import Numbers

PERIOD_S = 1.0
"""Time between two files, seconds."""


class MetricsFile:
    """Writes counters in its own thread.

    Args:
        path: File to write; node exporter expects a name that ends in `.prom`.
        numbers: Counters to write.
        period_s: Time between two files, seconds.
    """

    def __init__(self, path: Path, numbers: Numbers, *, period_s: float = PERIOD_S) -> None:
        self.failed = 0
        """Number of files that could not be written."""
        self._path, self._numbers, self._period_s = path, numbers, period_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """Write the last values, for at most `timeout` seconds."""
        self._end.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        # Imported in the thread: the package takes a tenth of a second to import.
        write = resolve("edge.telemetry.prometheus:write")
        while True:
            ended = self._end.wait(self._period_s)
            try:
                write(self._path, self._numbers)
            except OSError:
                self.failed += 1
            if ended:
                return
