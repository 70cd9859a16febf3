"""`python -m benchmarks.studies.recipes`: compare recipes by paired trainings.

All recipes are trained with the same data and seeds (`benchmarks.studies.paired`). The weights at
the end of the schedule are scored, so that no frame selects the weights that it scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchmarks.studies import options
from benchmarks.studies.paired import run_study, show_study
from edge.errors import UsageError
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RECIPES: dict[str, dict[str, object]] = {
    "none": {"recipe": "none"},
    "difom": {"recipe": "difom"},
    "shuffled": {"recipe": "difom", "shuffle_teacher": True},
    "paper": {"recipe": "paper"},
    "distil-first": {"recipe": "difom", "schedule": "distil-first"},
    "similarity": {"recipe": "difom", "similarity_weight": 0.1},
    "radial": {"recipe": "difom", "band": "radial"},
    "phi-s": {"recipe": "difom", "standardize": "phi-s"},
    "heavy": {"recipe": "difom", "distill_weight": 1.0},
}
"""Maps each recipe to its changes of the shared configuration."""
ABLATIONS: dict[str, dict[str, object]] = {
    "no-shifted-views": {"recipe": "none", "shifted_views": 0.0},
    "all-shifted-views": {"recipe": "none", "shifted_views": 1.0},
    "no-polyp-free-views": {"recipe": "none", "polyp_free_views": 0.0},
    "no-removed-polyps": {"recipe": "none", "removed_polyps": 0.0},
    "no-average": {"recipe": "none", "ema": 0.0},
    "one-scale": {"recipe": "none", "scales": [1.0]},
    "one-learning-rate": {"recipe": "none", "encoder_lr": 1.0},
    "no-imagenet": {"recipe": "none", "pretrained": False},
    "full-frame": {"recipe": "none", "field_of_view": "full-frame"},
    "even-pixels": {"recipe": "none", "task_loss": "bce-iou"},
    "cross-entropy": {"recipe": "none", "task_loss": "bce"},
}
"""Maps each ablation to its changes; these recipes have no teacher and run only if named.

They omit a part of the shared configuration or exaggerate it.
"""
FROM_TASK: dict[str, dict[str, object]] = {
    "task-maps": {"recipe": "difom", "teachers": ["{}"]},
    "task-shuffled": {
        "recipe": "difom",
        "teachers": ["{}"],
        "task_teachers": ["{}"],
        "shuffle_teacher": True,
    },
    "cwd": {"recipe": "difom", "teachers": [], "task_teachers": ["{}"]},
    "task-maps+cwd": {"recipe": "difom", "teachers": ["{}"], "task_teachers": ["{}"]},
}
"""Maps recipes that learn from students trained here to their changes.

The names of the students replace the braces; several outputs are averaged.
"""
SELF_TRAINING = "self-training"
"""`none` with pseudo-labeled frames of `edge-difom label` added to its images."""


_CALL = "python -m benchmarks.studies.recipes"


@click.command(
    epilog=console.examples(
        f"{_CALL} --data DIR1 --data DIR2 --val-sequences 3,8,13 --out study.json",
        f"{_CALL} --data DIR --recipe none --recipe difom --seeds 5 --set epochs=10",
    )
)
@options.data()
@options.VAL_SEQUENCES
@click.option(
    "--recipe",
    "names",
    multiple=True,
    type=click.Choice([*RECIPES, *FROM_TASK, SELF_TRAINING, *ABLATIONS]),
    help="Recipe to train, repeatable; by default all that the teachers allow.",
)
@click.option(
    "--teacher", "teachers", multiple=True, default=("efficientnet_lite2",), show_default=True
)
@click.option(
    "--task-teacher",
    "task_teachers",
    multiple=True,
    metavar="run:RUN",
    help="Run of a student, for the recipes that learn from it; repeatable.",
)
@options.folders("--pseudo", "A folder of `edge-difom label`, for `self-training`")
@options.SEEDS
@options.ASSIGNMENTS
@options.runs("runs/recipes")
@options.OUT
def command(
    data: tuple[Path, ...],
    val_sequences: str,
    names: tuple[str, ...],
    teachers: tuple[str, ...],
    task_teachers: tuple[str, ...],
    pseudo: tuple[Path, ...],
    seeds: int,
    assignments: tuple[str, ...],
    runs: Path,
    json_path: str | None,
) -> None:
    """Train every recipe with the same seeds and compare each with `none`."""
    from distill.config import parse_assignments

    shared: dict[str, Any] = {
        "data": options.absolute(data),
        "val_sequences": options.parse_sequences(val_sequences),
        "teachers": list(teachers),
        "student": "edge-s",
        "size": 192,
        "epochs": 8,
        **parse_assignments(assignments),
    }
    recipes = known_recipes(task_teachers, [*shared["data"], *options.absolute(pseudo)])
    missing = sorted(set(names) - recipes.keys() - ABLATIONS.keys())
    if missing:
        raise UsageError(f"recipe {missing[0]} needs a task teacher", hint="--task-teacher run:RUN")
    if SELF_TRAINING in names and not pseudo:
        raise UsageError(
            f"recipe {SELF_TRAINING} needs frames", hint="edge-difom label, then --pseudo DIR"
        )
    available = recipes | ABLATIONS
    usual = [name for name in recipes if name != SELF_TRAINING or pseudo]
    chosen = {name: available[name] for name in dict.fromkeys(["none", *(names or usual)])}
    study = run_study(shared, chosen, list(range(seeds)), runs)
    show_study(study)
    options.write_study(study, json_path)


def known_recipes(
    task_teachers: Sequence[str], data: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Return the settings of every recipe that can be trained with these task teachers and data.

    Args:
        task_teachers: Task teachers as `run:RUN`.
        data: Folders for `self-training`.
    """
    recipes = RECIPES | {SELF_TRAINING: {"recipe": "none", "data": list(data)}}
    if not task_teachers:
        return recipes
    filled = {
        name: {
            key: list(task_teachers) if value == ["{}"] else value
            for key, value in settings.items()
        }
        for name, settings in FROM_TASK.items()
    }
    return recipes | filled


if __name__ == "__main__":
    run_program(command)
