"""Runs of several trainings: what each stage changes, and the mean of their best weights.

A run with `images` has two stages: the teachers' maps are learned on all frames, without masks, and
the best weights of that start what the run's own settings describe.

Networks that were fine-tuned from the same weights lie close enough together for the mean of their
weights to be a network of its own, often a better one than each of them (Wortsman et al. 2022,
"Model soups", ICML).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from distill.options import Stage
from distill.run_folder import load_checkpoint, save_checkpoint
from distill.students.build import build_student
from distill.train.logit_range import fit_logits
from edge.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distill.config import DistillConfig
    from distill.data.batches import TrainingData

_COMMON = ("data", "val_sequences", "val_fraction", "split_seed", "negatives", "val_negatives")
"""Options that decide which frames validate, so no stage may change them."""


TEACHERS, TASK = "teachers", "task"
"""Names of the stages of a run with `images`."""


def run_stages(config: DistillConfig) -> list[Stage]:
    """The stages of a run: those that it names, two with `images`, or none for one training.

    Raises:
        UsageError: Recipe `paper` is to learn from `images`.
    """
    alone = config.run.stages or config.loss.without_masks
    if alone or not config.data.images:
        return config.run.stages
    if config.loss.recipe == "paper":
        raise UsageError(
            "recipe paper has no stage without masks",
            expected="recipe difom or none with images",
            hint="recipe=difom",
        )
    settings: dict[str, Any] = {
        "recipe": "difom",
        "schedule": "teachers-only",
        "epochs": config.run.image_epochs,
        "unlabeled": [],
        "boxes": [],
        "removed_polyps": 0,
        "pasted_polyps": 0,
    }
    return [
        Stage(name=TEACHERS, settings=settings, averaged=False),
        Stage(name=TASK, after=TEACHERS),
    ]


def stage_path(run: Path, name: str) -> Path:
    """Folder of a stage, itself a run folder."""
    return run / "stages" / name


def stage_config(config: DistillConfig, stage: Stage, run: Path | None) -> DistillConfig:
    """Configuration of one stage of a run.

    Args:
        config: Configuration of the whole run.
        stage: One of `run_stages`.
        run: Folder of the whole run; None if it has no name yet, so that the stage that a stage
            starts from has no path yet either.

    Raises:
        UsageError: The stage changes the student or the split, names a stage that is not before
            it, or its weights cannot be averaged.
    """
    stages = run_stages(config)
    names = [other.name for other in stages]
    if len(set(names)) < len(names):
        raise UsageError("two stages have the same name", got=", ".join(names))
    settings = dict(stage.settings)
    if stage.after:
        if stage.after not in names[: names.index(stage.name)]:
            raise UsageError(
                f"stage {stage.name} starts from an unknown stage {stage.after}",
                expected=", ".join(names[: names.index(stage.name)]) or "no `after` in the first",
            )
        settings["start"] = str(stage_path(run, stage.after)) if run else ""
    if "stages" in settings:
        raise UsageError(f"stage {stage.name} has stages of its own", expected="one level")
    staged = config.changed(**{"stages": [], **settings})
    if not staged.loss.without_masks:
        staged = staged.changed(images=[])
    flat, base = staged.flat(), config.flat()
    changed = [key for key in _COMMON if flat[key] != base[key]]
    if staged.student.network != config.student.network or staged.data.size != config.data.size:
        changed.append("student or size")
    if changed:
        raise UsageError(
            f"stage {stage.name} changes {', '.join(changed)}",
            expected="the same student and validation frames in all stages",
        )
    averaged = [other for other in stages if other.averaged]
    if not averaged:
        raise UsageError("no stage is averaged", expected="averaged: true in at least one")
    frozen = staged.student.freeze_batchnorm or _shares_statistics(config, stage, averaged)
    if len(averaged) > 1 and stage.averaged and not frozen:
        raise UsageError(
            f"stage {stage.name} trains BatchNorm statistics, which have no mean",
            expected="freeze_batchnorm: true in every averaged stage, or in all that start from it",
        )
    return staged


def _shares_statistics(config: DistillConfig, stage: Stage, averaged: Sequence[Stage]) -> bool:
    """Return whether all other averaged stages keep the BatchNorm statistics of this one."""
    sharing = {stage.name}
    for other in run_stages(config):
        settings = {"freeze_batchnorm": config.student.freeze_batchnorm, **other.settings}
        if settings["freeze_batchnorm"] and other.after in sharing:
            sharing.add(other.name)
    return sharing.issuperset(other.name for other in averaged)


def average_stages(run: Path, config: DistillConfig, data: TrainingData) -> dict[str, float]:
    """Write the mean of the stages' best weights as the best weights of the run.

    Args:
        run: Folder of the whole run; its stages are complete.
        config: Configuration of the whole run.
        data: Validation images.

    Returns:
        Validation figures of the mean; its `epoch` counts all epochs of all stages.

    Raises:
        TrainingError: A checkpoint is missing, damaged, or of another network.
    """
    stages = run_stages(config)
    averaged = [stage for stage in stages if stage.averaged]
    paths = [stage_path(run, stage.name) / "checkpoints" / "best.pt" for stage in averaged]
    student = build_student(config.student.network, pretrained=False)
    mean = mean_weights([load_checkpoint(path)["student"] for path in paths])
    student.load_state_dict(mean)
    factor = fit_logits(student.eval(), data.validation.images)
    epochs = sum(stage_config(config, stage, run).run.epochs for stage in stages)
    figures = {"epoch": float(epochs), **data.validate(student)}
    save_checkpoint(
        run / "checkpoints" / "best.pt",
        {"student": student.state_dict(), "metrics": figures, "logit_scale": factor},
    )
    return figures


def mean_weights(states: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Mean of state dicts of one network; integer entries are those of the first.

    Raises:
        TrainingError: The state dicts are not of the same network.
    """
    first = states[0]
    for state in states[1:]:
        if state.keys() != first.keys() or any(
            state[name].shape != value.shape for name, value in first.items()
        ):
            raise TrainingError("weights of different networks have no mean")
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }
