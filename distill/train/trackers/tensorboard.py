"""TensorBoard: event files in the folder of the run (extra `tensorboard`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from distill.train.callbacks import RunCallback, RunContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.frame import ImageU8

FOLDER = "tensorboard"


class TensorBoard(RunCallback):
    """Writes the figures of each epoch under RUN/tensorboard.

    Its pictures stay where the run stays: they show frames of the data.
    """

    def __init__(self) -> None:
        self._writer: Any = None
        self._epoch = 0

    def begin(self, context: RunContext) -> None:
        """Open an event file; a resumed run replaces the epochs that it writes again."""
        self._epoch = context.done
        self._writer = SummaryWriter(
            str(context.path / FOLDER), purge_step=context.done + 1 if context.done else None
        )
        text = yaml.safe_dump(dict(context.settings), sort_keys=False)
        self._writer.add_text("configuration", f"```yaml\n{text}```", context.done)

    def picture(self, name: str, image: ImageU8) -> None:
        """Add a picture."""
        self._writer.add_image(name, image, self._epoch, dataformats="HWC")

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add a point to every curve."""
        self._epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, self._epoch)
        self._writer.flush()

    def end(self, best: Mapping[str, float]) -> None:
        """Note the best epoch and close the event file."""
        self._writer.add_text("best", f"epoch {best['epoch']:.0f}", self._epoch)
        self._writer.close()

    def fail(self, reason: str) -> None:
        """Note the reason and close the event file."""
        self._writer.add_text("stopped", reason, self._epoch)
        self._writer.close()
