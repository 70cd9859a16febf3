"""The callbacks of a training: its log, its page, and the trackers that its configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.train.run_log import RunLog
from distill.train.run_page import RunPage
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.train.callbacks import RunCallback

TRACKERS = {
    "tensorboard": "distill.train.trackers.tensorboard:TensorBoard",
    "mlflow": "distill.train.trackers.mlflow:MLflow",
    "wandb": "distill.train.trackers.wandb:WandB",
}
"""Name in the configuration -> `module:class`."""


def make_callbacks(track: Sequence[str] = ()) -> list[RunCallback]:
    """Make the callbacks of a training.

    Args:
        track: Names of trackers, from `TRACKERS`.

    Raises:
        MissingDependencyError: A tracker is not installed; the error names the extra.
    """
    trackers = [resolve(TRACKERS[name])() for name in dict.fromkeys(track)]
    return [RunLog(), RunPage(), *trackers]
