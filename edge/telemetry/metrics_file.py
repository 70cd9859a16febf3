"""The metrics file and its thread.

Once a second the numbers of the frame loop become a file, by rename, so that a reader sees a whole one. Nobody who reads
it, or does not, and no disk, has any effect on the loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge.util.extras import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from edge.telemetry.counters import Numbers

PERIOD_S = 1.0
"""How often the file is written."""


class MetricsFile:
    """Writes numbers in a thread of its own.

    Args:
        path: Where to; node exporter wants a name that ends in `.prom`.
        numbers: What is written.
        period_s: Seconds between two files.
    """

    def __init__(self, path: Path, numbers: Numbers, *, period_s: float = PERIOD_S) -> None:
        self.failed = 0
        """Files that could not be written."""
        self._path, self._numbers, self._period_s = path, numbers, period_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """Write the last numbers, as long as that takes no longer than so many seconds."""
        self._end.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        # Here and not at the top: the package takes a tenth of a second to import, which a start need not wait for.
        write = resolve("edge.telemetry.prometheus:write")
        while True:
            ended = self._end.wait(self._period_s)
            try:
                write(self._path, self._numbers)
            except OSError:
                self.failed += 1
            if ended:
                return
