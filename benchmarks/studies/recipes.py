"""`python -m benchmarks.studies.recipes`: compare recipes by paired trainings.

All recipes are trained with the same data and seeds. A seed determines the initial weights, the
sample order and the augmentation, so that a difference between two recipes with one seed comes from
the recipe. The weights at the end of the schedule are scored, so that no frame selects the weights
that it scores. Finished runs are kept, an interrupted one is resumed, and processes that are
started with the same `--runs` share the work.
"""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from edge.errors import EdgeDifomError, UsageError
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console
from edge_difom.runtime_env import configure

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 97.5 % by degrees of freedom."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe compared with `none`.

    Attributes:
        recipe: Name of the recipe.
        dice: Validation Dice of each seed's weights at the end of its schedule.
        difference: Mean of the paired differences to `none`; None for `none` itself.
        difference_ci95: 95 % interval of the mean by Student's t.
        verdict: `better` or `worse` only if the interval excludes 0.
    """

    recipe: str
    dice: list[float]
    difference: float | None
    difference_ci95: tuple[float, float] | None
    verdict: str


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """Compared recipes, their data and the results."""

    shared: dict[str, Any]
    seeds: list[int]
    rows: list[Row]
    seconds_per_run: dict[str, float]
    device: Device
    versions: dict[str, str | None]


_CALL = "python -m benchmarks.studies.recipes"


@click.command(
    epilog=console.examples(
        f"{_CALL} --data DIR1 --data DIR2 --val-sequences 3,8,13 --out study.json",
        f"{_CALL} --data DIR --recipe none --recipe difom --seeds 5 --set epochs=10",
    )
)
@click.option(
    "--data", multiple=True, required=True, type=click.Path(path_type=Path), metavar="DIR"
)
@click.option("--val-sequences", default="", metavar="3,8,13")
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
@click.option(
    "--pseudo",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of `edge-difom label`, for `self-training`; repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting that all runs share; repeatable.",
)
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs/recipes"), show_default=True
)
@click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")
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
        "data": [str(folder.resolve()) for folder in data],
        "val_sequences": [int(part) for part in val_sequences.split(",") if part],
        "teachers": list(teachers),
        "student": "edge-s",
        "size": 192,
        "epochs": 8,
        **parse_assignments(assignments),
    }
    recipes = known_recipes(
        task_teachers, [*shared["data"], *(str(folder.resolve()) for folder in pseudo)]
    )
    missing = sorted(set(names) - recipes.keys() - ABLATIONS.keys())
    if missing:
        raise UsageError(f"recipe {missing[0]} needs a task teacher", hint="--task-teacher run:RUN")
    if SELF_TRAINING in names and not pseudo:
        raise UsageError(
            f"recipe {SELF_TRAINING} needs frames", hint="edge-difom label, then --pseudo DIR"
        )
    known = recipes | ABLATIONS
    usual = [name for name in recipes if name != SELF_TRAINING or pseudo]
    chosen = {name: known[name] for name in dict.fromkeys(["none", *(names or usual)])}
    study = run_study(shared, chosen, list(range(seeds)), runs)
    rows = [
        [
            row.recipe,
            float(np.mean(row.dice)),
            row.difference,
            _interval(row.difference_ci95),
            row.verdict,
        ]
        for row in study.rows
    ]
    console.table(["recipe", "Dice", "difference", "95 % interval", "verdict"], rows)
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)


def known_recipes(
    task_teachers: Sequence[str], data: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Return the settings of every recipe that can be trained with these task teachers and data.

    Args:
        task_teachers: Task teachers as `run:RUN`.
        data: Folders for `self-training`.
    """
    known = RECIPES | {SELF_TRAINING: {"recipe": "none", "data": list(data)}}
    if not task_teachers:
        return known
    filled = {
        name: {
            key: list(task_teachers) if value == ["{}"] else value
            for key, value in settings.items()
        }
        for name, settings in FROM_TASK.items()
    }
    return known | filled


def run_study(
    shared: dict[str, Any], recipes: dict[str, dict[str, object]], seeds: Sequence[int], runs: Path
) -> Study:
    """Train the missing runs and compare the recipes.

    Args:
        shared: Settings of all runs.
        recipes: Maps each recipe, including `none`, to its changes of these settings.
        seeds: Number of seeds of each recipe.
        runs: Folder of the runs.

    Raises:
        UsageError: `runs` holds a run with different settings.
        TrainingError: A run diverged.
        DataError: The images cannot be used.
    """
    from edge.util.files import locked

    dice: dict[str, list[float]] = {name: [] for name in recipes}
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    wanted = [(seed, name) for seed in seeds for name in recipes]
    runs.mkdir(parents=True, exist_ok=True)
    # Train what no other process is training first, then whatever remains.
    for wait in (False, True):
        for number, (seed, name) in enumerate(wanted):
            run = runs / f"{name}-{seed}"
            with suppress(BlockingIOError), locked(runs / f"{run.name}.lock", wait=wait):
                if not _finished(run, shared["epochs"]):
                    console.step(number + 1, len(wanted), f"{name}, seed {seed}")
                found, spent = _trained(run, shared | recipes[name] | {"seed": seed})
                if wait:
                    dice[name].append(found)
                    seconds[name].append(spent)
    return Study(
        shared={**shared, "data": [Path(folder).name for folder in shared["data"]]},
        seeds=list(seeds),
        rows=[compare_with_none(name, dice[name], dice["none"]) for name in recipes],
        seconds_per_run={name: float(np.median(values)) for name, values in seconds.items()},
        device=read_device(),
        versions=versions(),
    )


def compare_with_none(name: str, dice: Sequence[float], none: Sequence[float]) -> Row:
    """Compare a recipe's validation Dice with that of `none` by paired differences over seeds."""
    if name == "none":
        return Row(
            recipe=name, dice=list(dice), difference=None, difference_ci95=None, verdict="baseline"
        )
    differences = np.subtract(dice, none)
    mean, count = float(differences.mean()), len(differences)
    half = _T975.get(count - 1, 1.96) * float(differences.std(ddof=1)) / math.sqrt(count)
    verdict = "better" if mean - half > 0 else "worse" if mean + half < 0 else "no difference shown"
    return Row(
        recipe=name,
        dice=list(dice),
        difference=mean,
        difference_ci95=(mean - half, mean + half),
        verdict=verdict,
    )


def _trained(run: Path, values: dict[str, Any]) -> tuple[float, float]:
    """Return the last validation Dice and the seconds of a run; trains or resumes it if needed."""
    from distill.config import make_config
    from distill.run_folder import load_config
    from distill.train.runs import resume_run, start_run

    config = make_config(values)
    if not (run / "checkpoints" / "last.pt").is_file():
        start_run(config, out=run, force=True)
    elif load_config(run) != config:
        raise UsageError(
            f"{run} was trained with different settings", hint="remove it, or use different --runs"
        )
    elif not _finished(run, config.run.epochs):
        resume_run(run)
    rows = _metrics(run)
    return rows[-1]["dice_val"], rows[-1]["seconds"]


def _finished(run: Path, epochs: int) -> bool:
    return len(_metrics(run)) >= epochs


def _metrics(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [msgspec.json.decode(line) for line in lines if line]


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


if __name__ == "__main__":
    configure()
    try:
        command()
    except EdgeDifomError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
