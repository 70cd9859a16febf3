"""MLflow: a run in the experiment `edge-difom` (extra `mlflow`).

Where it is stored is MLflow's own setting, `MLFLOW_TRACKING_URI`. Pictures are not sent: they show
frames of the data, and the store may be a server.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import mlflow

from distill.train.callbacks import RunCallback, RunContext

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_FILE = "mlflow-run-id"
_MAX_VALUE = 500


class MLflow(RunCallback):
    """Logs settings, figures of each epoch and the outcome."""

    def begin(self, context: RunContext) -> None:
        """Start a run, or continue the one that the folder belongs to."""
        file = context.path / ID_FILE
        mlflow.set_experiment("edge-difom")
        if context.done and file.is_file():
            mlflow.start_run(run_id=file.read_text())
            return
        run = mlflow.start_run(run_name=context.path.name)
        file.write_text(run.info.run_id)
        mlflow.log_params({key: str(value)[:_MAX_VALUE] for key, value in context.settings.items()})

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log the figures of an epoch; names keep only the characters that MLflow allows."""
        values = {
            re.sub(r"[^\w./ -]", "_", name): value for name, value in row.items() if name != "epoch"
        }
        mlflow.log_metrics(values, step=int(row["epoch"]))

    def end(self, best: Mapping[str, float]) -> None:
        """Log the figures of the best epoch and end the run."""
        mlflow.log_metrics({f"best/{name}": value for name, value in best.items()})
        mlflow.end_run()

    def fail(self, reason: str) -> None:
        """Mark the run as failed, with the reason."""
        mlflow.set_tag("stopped", reason)
        mlflow.end_run(status="FAILED")
