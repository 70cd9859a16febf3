"""Weights & Biases: a run of the project `edge-difom` (extra `wandb`).

Account and server are W&B's own settings; `WANDB_MODE=offline` keeps everything on this machine.
Pictures are not sent: they show frames of the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wandb

from distill.train.callbacks import RunCallback, RunContext

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_FILE = "wandb-run-id"


class WandB(RunCallback):
    """Logs settings, figures of each epoch and the outcome."""

    def __init__(self) -> None:
        self._run: Any = None

    def begin(self, context: RunContext) -> None:
        """Start a run, or continue the one that the folder belongs to."""
        file = context.path / ID_FILE
        run_id = file.read_text() if context.done and file.is_file() else None
        self._run = wandb.init(
            project="edge-difom",
            name=context.path.name,
            dir=str(context.path),
            config=dict(context.settings),
            id=run_id,
            resume="allow" if run_id else None,
        )
        file.write_text(self._run.id)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log the figures of an epoch."""
        self._run.log(dict(row), step=int(row["epoch"]))

    def end(self, best: Mapping[str, float]) -> None:
        """Note the figures of the best epoch and end the run."""
        self._run.summary.update({f"best/{name}": value for name, value in best.items()})
        self._run.finish()

    def fail(self, reason: str) -> None:
        """Mark the run as failed, with the reason."""
        self._run.summary.update({"stopped": reason})
        self._run.finish(exit_code=1)
