"""`train.log`: begin, epochs, warnings and end of a training, one line each with its time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from distill.train.callbacks import RunCallback, RunContext
from edge.record_header import make_header

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG = "train.log"
_LOGGERS = ("distill", "edge")


class RunLog(RunCallback):
    """Appends to `train.log`; a resumed run continues the file."""

    def __init__(self) -> None:
        self._handler: logging.FileHandler | None = None
        self._epochs = 0

    def begin(self, context: RunContext) -> None:
        """Open the log and note how the training was started."""
        self._epochs = context.epochs
        handler = logging.FileHandler(context.path / LOG, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        handler.setLevel(logging.WARNING)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(handler)
        self._handler = handler
        header = make_header()
        verb = f"continued after epoch {context.done}" if context.done else "begun"
        self._write(
            f"{verb}: {header.command}; version {header.version}, commit {header.commit}, "
            f"{header.machine}"
        )

    def epoch(self, row: Mapping[str, float]) -> None:
        """Note the figures of an epoch."""
        figures = ", ".join(
            f"{name} {value:.4g}"
            for name, value in row.items()
            if name != "epoch" and isinstance(value, int | float)
        )
        self._write(f"epoch {row['epoch']:.0f} of {self._epochs}: {figures}")

    def end(self, best: Mapping[str, float]) -> None:
        """Note the best epoch and close the log."""
        self._write(f"complete; best epoch {best['epoch']:.0f}")
        self._close()

    def fail(self, reason: str) -> None:
        """Note why the training stopped and close the log."""
        self._write(f"stopped: {reason}")
        self._close()

    def _write(self, text: str) -> None:
        if self._handler is not None:
            self._handler.emit(
                logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None)
            )

    def _close(self) -> None:
        if self._handler is None:
            return
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._handler)
        self._handler.close()
        self._handler = None
