"""A training that is killed in a step and resumed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from distill.train.runs import resume_run, start_run
from distill.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distill.config import DistillConfig


@contextmanager
def killed_in_step(step: int) -> Iterator[None]:
    """Kill the training that begins with the block in its step number `step`, over all runs."""
    original, steps = Trainer.train_step, 0

    def killed(self: Trainer, batch: Any) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            yield


def kill_and_resume(settings: DistillConfig, out: Path, *, step: int) -> Path:
    """Train in `out`, kill the training in its step number `step`, and resume it to its end."""
    with killed_in_step(step):
        start_run(settings, out=out)
    return resume_run(out)
