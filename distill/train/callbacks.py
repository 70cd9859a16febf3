"""What follows a training: the log, the page of the run, and trackers of experiments.

Every follower is a `RunCallback`. The trainer calls all of them in the main process alone; an error
of one is reported, and the training goes on without it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edge.frame import ImageU8

logger = logging.getLogger(__name__)


class RunContext(NamedTuple):
    """The training or quantization that begins.

    Attributes:
        path: Folder of the run.
        subject: What is trained, in words.
        settings: Its options by flat keys.
        epochs: Epochs that were asked for.
        done: Number of completed epochs; 0 for a new run.
    """

    path: Path
    subject: str
    settings: Mapping[str, Any]
    epochs: int
    done: int


class RunCallback:
    """Follows a training; override what is needed."""

    def begin(self, context: RunContext) -> None:
        """The training begins or continues."""

    def picture(self, name: str, image: ImageU8) -> None:
        """A picture was made.

        Args:
            name: `batch`, views of the first training batch, or `worst`, the validation frames with
                the lowest Dice at the best epoch.
            image: (H, W, 3) uint8 RGB; it shows frames of the data.
        """

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch ended.

        Args:
            row: Its line in `metrics.jsonl`; `epoch` counts from 1.
        """

    def end(self, best: Mapping[str, float]) -> None:
        """The training is complete.

        Args:
            best: Figures of the best epoch.
        """

    def fail(self, reason: str) -> None:
        """The training stopped before its end.

        Args:
            reason: What stopped it.
        """


class Followers:
    """Calls all callbacks in their order.

    Args:
        callbacks: The callbacks; one that raises an error is left out from then on.
    """

    def __init__(self, callbacks: Sequence[RunCallback] = ()) -> None:
        self._callbacks = list(callbacks)

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def notify(self, call: Callable[[RunCallback], None]) -> None:
        """Call each callback, such as `followers.notify(lambda one: one.end(best))`."""
        for callback in list(self._callbacks):
            self._call(callback, call)

    def _call(self, callback: RunCallback, call: Callable[[RunCallback], None]) -> None:
        try:
            call(callback)
        except Exception as error:  # noqa: BLE001 - a lost tracker must not end a training
            self._callbacks.remove(callback)
            logger.warning("%s no longer follows the training: %s", type(callback).__name__, error)
