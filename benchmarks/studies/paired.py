"""Paired trainings: arms that share data and seeds, compared with a baseline.

A seed determines the initial weights, the sample order and the augmentation, so that a difference
between two arms with one seed comes from their settings. Finished runs are kept, an interrupted one
is resumed, and processes that are started with the same folder of runs share the work.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.util.host import Device, read_device, versions
from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Settings = dict[str, Any]
    Scorer = Callable[[Path], dict[str, float]]

BASELINE, UNDECIDED = "baseline", "no difference shown"
_T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 97.5 % by degrees of freedom."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of an arm, compared with the baseline's.

    Attributes:
        values: The figure of each seed.
        difference: Mean of the paired differences to the baseline; None for the baseline itself.
        difference_ci95: 95 % interval of the mean by Student's t.
        verdict: `higher` or `lower` only if the interval excludes 0; empty for a figure that the
            baseline lacks.
    """

    values: list[float]
    difference: float | None
    difference_ci95: tuple[float, float] | None
    verdict: str


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One arm compared with the baseline.

    Attributes:
        recipe: Name of the arm.
        dice: Validation Dice of each seed's weights at the end of its schedule.
        difference: Mean of the paired differences to the baseline; None for the baseline itself.
        difference_ci95: 95 % interval of the mean by Student's t.
        verdict: `better` or `worse` only if the interval excludes 0.
        figures: Further figures by name.
    """

    recipe: str
    dice: list[float]
    difference: float | None
    difference_ci95: tuple[float, float] | None
    verdict: str
    figures: dict[str, Figure] = {}


class Study(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Compared arms, their data and the results.

    Attributes:
        shared: Settings of all runs.
        seeds: The seeds.
        rows: One row for each arm, the baseline first.
        seconds_per_run: Arm -> median of the seconds of its runs.
        device: The machine.
        versions: Software versions.
        left_out: Names of the folders that no run has seen and that its figures come from.
        recovered: Figure -> share of the gain of the last arm over the baseline that the second
            arm reaches; only for a comparison whose last arm is a ceiling.
    """

    shared: dict[str, Any]
    seeds: list[int]
    rows: list[Row]
    seconds_per_run: dict[str, float]
    device: Device
    versions: dict[str, str | None]
    left_out: list[str] = []
    recovered: dict[str, float] = {}


def run_study(
    shared: Settings,
    arms: dict[str, Settings],
    seeds: Sequence[int],
    runs: Path,
    *,
    score: Scorer | None = None,
    left_out: Sequence[Path] = (),
) -> Study:
    """Train the missing runs and compare the arms with the first of them.

    Args:
        shared: Settings of all runs.
        arms: Name of each arm, the baseline first -> its changes of these settings.
        seeds: The seeds of each arm.
        runs: Folder of the runs.
        score: Returns further figures of a finished run.
        left_out: Folders that `score` reads, for the record.

    Raises:
        UsageError: `runs` holds a run with different settings.
        TrainingError: A run diverged.
        DataError: The images cannot be used.
    """
    from distill.train.runs import is_finished
    from edge.util.files import locked

    dice: dict[str, list[float]] = {name: [] for name in arms}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    further: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    jobs = [(seed, name) for seed in seeds for name in arms]
    runs.mkdir(parents=True, exist_ok=True)
    # Train what no other process is training first, then whatever remains.
    for wait in (False, True):
        for number, (seed, name) in enumerate(jobs):
            run = runs / f"{name}-{seed}"
            with suppress(BlockingIOError), locked(runs / f"{run.name}.lock", wait=wait):
                if not is_finished(run):
                    console.step(number + 1, len(jobs), f"{name}, seed {seed}")
                dice_reached, spent = _trained(run, shared | arms[name] | {"seed": seed})
                figures = {} if score is None else score(run)
                if wait:
                    dice[name].append(dice_reached)
                    seconds[name].append(spent)
                    further[name].append(figures)
    base = next(iter(arms))
    return Study(
        shared={**shared, "data": [Path(folder).name for folder in shared["data"]]},
        seeds=list(seeds),
        rows=[
            msgspec.structs.replace(
                compare(name, dice[name], None if name == base else dice[base]),
                figures=compare_figures(further[name], None if name == base else further[base]),
            )
            for name in arms
        ],
        seconds_per_run={name: float(np.median(values)) for name, values in seconds.items()},
        device=read_device(),
        versions=versions(),
        left_out=[folder.name for folder in left_out],
    )


def compare(name: str, dice: Sequence[float], baseline: Sequence[float] | None) -> Row:
    """Compare an arm's Dice with the baseline's by paired differences over seeds.

    Args:
        name: Name of the arm.
        dice: Dice of each seed.
        baseline: Dice of the baseline with the same seeds; None for the baseline itself.
    """
    if baseline is None:
        return Row(
            recipe=name, dice=list(dice), difference=None, difference_ci95=None, verdict=BASELINE
        )
    mean, interval = paired_difference(dice, baseline)
    return Row(
        recipe=name,
        dice=list(dice),
        difference=mean,
        difference_ci95=interval,
        verdict=_verdict(interval, "better", "worse"),
    )


def compare_figures(
    rows: Sequence[dict[str, float]], baseline: Sequence[dict[str, float]] | None
) -> dict[str, Figure]:
    """Compare each figure that all seeds of an arm have with the baseline's.

    Args:
        rows: Figures of each seed.
        baseline: Figures of the baseline with the same seeds; None for the baseline itself.
    """
    figures = {}
    for name in rows[0] if rows else {}:
        if not all(name in row for row in rows):
            continue
        values = [row[name] for row in rows]
        if baseline is None or not all(name in row for row in baseline):
            figures[name] = Figure(
                values=values,
                difference=None,
                difference_ci95=None,
                verdict=BASELINE if baseline is None else "",
            )
            continue
        mean, interval = paired_difference(values, [row[name] for row in baseline])
        figures[name] = Figure(
            values=values,
            difference=mean,
            difference_ci95=interval,
            verdict=_verdict(interval, "higher", "lower"),
        )
    return figures


def paired_difference(
    values: Sequence[float], baseline: Sequence[float]
) -> tuple[float, tuple[float, float]]:
    """Return the mean of the paired differences and its 95 % interval by Student's t.

    Args:
        values: A figure of each seed, at least two.
        baseline: The same figure of the baseline.
    """
    differences = np.subtract(values, baseline)
    mean, count = float(differences.mean()), len(differences)
    half = _T975.get(count - 1, 1.96) * float(differences.std(ddof=1)) / math.sqrt(count)
    return mean, (mean - half, mean + half)


def recovered_shares(study: Study) -> dict[str, float]:
    """Return which share of the last arm's gain over the baseline the second arm reaches.

    Args:
        study: A study whose last arm is the ceiling of the second one.

    Returns:
        Figure -> share; without the figures in which the last arm gains nothing.
    """
    below, middle, above = (study.rows[number] for number in (0, 1, -1))
    names = [name for name in above.figures if name in below.figures and name in middle.figures]
    levels = {"Dice": [row.dice for row in (below, middle, above)]} | {
        name: [row.figures[name].values for row in (below, middle, above)] for name in names
    }
    shares = {}
    for name, values in levels.items():
        low, reached, high = (float(np.mean(sample)) for sample in values)
        if high > low:
            shares[name] = (reached - low) / (high - low)
    return shares


def show_study(study: Study) -> None:
    """Print the tables of a study."""
    rows = [
        [row.recipe, float(np.mean(row.dice)), row.difference, *_cells(row)] for row in study.rows
    ]
    console.table(["recipe", "Dice", "difference", "95 % interval", "verdict"], rows)
    further = [
        [row.recipe, name, float(np.mean(figure.values)), figure.difference, *_cells(figure)]
        for row in study.rows
        for name, figure in row.figures.items()
    ]
    if further:
        head = ["recipe", "figure", "mean", "difference", "95 % interval", "verdict"]
        console.table(head, further)
    for name, share in study.recovered.items():
        console.say(f"share of the gain that is recovered, {name}: {share:.2f}")


def _cells(row: Row | Figure) -> list[str]:
    ci = row.difference_ci95
    return ["" if ci is None else f"{ci[0]:+.4f} to {ci[1]:+.4f}", row.verdict]


def _verdict(interval: tuple[float, float], above: str, below: str) -> str:
    return above if interval[0] > 0 else below if interval[1] < 0 else UNDECIDED


def _trained(run: Path, values: Settings) -> tuple[float, float]:
    """Return the last validation Dice and the seconds of a run; trains or resumes it if needed."""
    from distill.config import make_config
    from distill.train.runs import ensure_trained

    ensure_trained(make_config(values), run)
    return last_metrics(run)["dice_val"], sum(_metrics(part)[-1]["seconds"] for part in _parts(run))


def last_metrics(run: Path) -> dict[str, float]:
    """Return the figures of a run's last epoch; of its last stage, if it has stages."""
    return _metrics(_parts(run)[-1])[-1]


def _parts(run: Path) -> list[Path]:
    """Return the folders of a run's trainings, in their order."""
    from distill.run_folder import load_config
    from distill.train.stages import run_stages, stage_path

    stages = run_stages(load_config(run))
    return [stage_path(run, stage.name) for stage in stages] or [run]


def _metrics(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line) for line in lines if line]
