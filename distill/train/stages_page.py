"""The page of a run with stages as a whole, written again after each epoch of each stage."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distill.run_progress import COMPLETE, STOPPED, TRAINING, RunProgress, read_progress
from distill.train.callbacks import RunCallback, RunContext
from distill.train.run_page import write_page
from distill.train.stages import run_stages, stage_config, stage_path
from edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from distill.config import DistillConfig

logger = logging.getLogger(__name__)


class StagesPage(RunCallback):
    """Follows every stage of a run.

    Args:
        run: Folder of the whole run.
        config: Its configuration.

    Attributes:
        result: Validation figures of the mean of the stages; None before it is made.
    """

    def __init__(self, run: Path, config: DistillConfig) -> None:
        self.result: dict[str, float] | None = None
        self._run, self._config = run, config
        self._stages = [stage.name for stage in run_stages(config)]
        self._epochs = sum(
            stage_config(config, stage, run).run.epochs for stage in run_stages(config)
        )
        self._speed: float | None = None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Write the page at the begin and the end of the block, whatever ends it."""
        self._write_page(TRAINING)
        try:
            yield
        except BaseException as error:
            self._write_page(STOPPED, str(error) or type(error).__name__)
            raise
        self._write_page(COMPLETE)

    def begin(self, context: RunContext) -> None:  # noqa: ARG002 - a callback's signature
        """A stage begins."""
        self._write(TRAINING)

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch of a stage ended."""
        self._speed = row.get("images_per_second")
        self._write(TRAINING)

    def _write_page(self, state: str, reason: str = "") -> None:
        """Write the page; no error of it ends the training, as with any follower."""
        try:
            self._write(state, reason)
        except (OSError, MissingDependencyError) as error:
            logger.warning("the page of %s is not written: %s", self._run, error)

    def _write(self, state: str, reason: str = "") -> None:
        stage_progress = [read_progress(stage_path(self._run, name)) for name in self._stages]
        config = self._config
        progress = RunProgress(
            state=state,
            subject=f"{config.student.network}, {len(self._stages)} stages",
            reason=reason,
            epoch=sum(each.epoch for each in stage_progress if each),
            epochs=self._epochs,
            images_per_second=self._speed,
            stages=self._stages,
            best=self.result,
        )
        write_page(self._run, progress, config.flat())
