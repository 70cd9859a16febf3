"""`python -m benchmarks.studies.teaching`: does a teacher help, and how does it depend on labels?

Every arm makes the same number of optimizer steps. The baseline spends all of them on the task. The
others first learn teachers' maps on every frame there is, without masks, and then the task: those
of the embedded teacher, those and the logits of a teacher that was fitted to the labeled frames at
hand, or of an ensemble of two. All are scored on data sets that no run has seen, in FP32 and INT8,
for each share of the labels.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from benchmarks.studies import options
from benchmarks.studies.int8 import int8_figures
from benchmarks.studies.label_share import write_label_share
from benchmarks.studies.left_out import CONFIDENCE, left_out_figures, refuse_seen
from benchmarks.studies.paired import Study, run_study, show_study
from edge.errors import UsageError
from edge_difom.cli import console
from edge_difom.cli.main import run_program
from edge_difom.runtime_env import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.studies.label_share import LabelShare

SHARED: dict[str, Any] = {
    "recipe": "none",
    "teachers": [],
    "student": "edge-xs",
    "size": 128,
    "epochs": 20,
    "image_epochs": 100,
    "batch_size": 16,
    "lr": 0.003,
    "encoder_lr": 0.3,
    "ema": 0.98,
}
"""Settings of all runs, before those of the command line."""
BASELINE = "task"
ARMS = ("embedded", "fitted", "ensemble")
"""Arms that are taught, besides `BASELINE`."""
MEMBERS = {"fitted": 1, "ensemble": 2}
"""Arm -> number of fitted heads."""
FIT_EPOCHS = 20
EMBEDDED = "efficientnet_lite2"


class Teaching(msgspec.Struct, frozen=True, kw_only=True):
    """The studies of all shares of the labels.

    Attributes:
        shares: Share of the labels in per cent -> the compared arms.
        steps: Share -> optimizer steps of every arm.
    """

    shares: dict[str, Study]
    steps: dict[str, int]


class SharePlan(NamedTuple):
    """The runs of one share of the labels.

    Attributes:
        share: In per cent.
        settings: Settings that its arms share.
        arms: Name of each arm, the baseline first -> its changes of the settings.
        steps: Optimizer steps of every arm.
        frames: Frames that a teacher is to see.
    """

    share: int
    settings: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    steps: int
    frames: int


def plan_share(
    share: int,
    labels: LabelShare,
    images: Sequence[Path],
    arms: Sequence[str],
    settings: dict[str, Any],
    fits: Path,
    teacher: str = EMBEDDED,
) -> SharePlan:
    """Plan the runs of one share of the labels.

    Args:
        share: In per cent.
        labels: The labeled frames, and the others.
        images: Folders of further frames without masks.
        arms: Out of `ARMS`.
        settings: Settings of all runs.
        fits: Folder of the fitted teachers.
        teacher: The frozen network.

    Raises:
        DataError: The frames cannot be used.
        UsageError: A setting is unknown or out of range.
    """
    from distill.config import make_config
    from distill.data.load import draw_splits

    base_settings = {
        **settings,
        "data": [str(folder.resolve()) for folder in labels.data],
    }
    further = [str(folder.resolve()) for folder in (*labels.rest, *images)]
    config = make_config(base_settings | {"images": further})
    splits = draw_splits(config.data)
    batch = config.run.batch_size
    labeled, frames = len(splits.train), len(splits.train) + len(splits.images)
    steps_in_epoch = labeled // min(batch, labeled)
    taught_steps = config.run.image_epochs * (frames // min(batch, frames))
    more = max(1, round(taught_steps / steps_in_epoch))
    # Frames to train on are among them anyway, and make the stage where there are no others.
    images_of_teachers = further or [f"{folder}/train" for folder in base_settings["data"]]
    taught: dict[str, Any] = {"images": images_of_teachers, "teachers": [teacher]}
    settings_of: dict[str, dict[str, Any]] = {"embedded": taught}
    for arm, count in MEMBERS.items():
        heads = [f"fitted:{fit_path(fits, share, seed)}" for seed in range(count)]
        settings_of[arm] = taught | {"teachers": heads, "task_teachers": heads}
    return SharePlan(
        share,
        base_settings,
        {BASELINE: {"epochs": config.run.epochs + more}} | {arm: settings_of[arm] for arm in arms},
        config.run.epochs * steps_in_epoch + taught_steps,
        frames,
    )


def fit_path(fits: Path, share: int, seed: int) -> Path:
    """Return the folder of a fitted teacher."""
    return (fits / f"labels-{share}-{seed}").resolve()


def _fit(plan: SharePlan, fits: Path, teacher: str, epochs: int) -> None:
    """Fit the teachers that a share's arms need and that are not there."""
    from distill.train.teacher_fit import fit_config, fit_teacher

    members = max((MEMBERS.get(arm, 0) for arm in plan.arms), default=0)
    for seed in range(members):
        out = fit_path(fits, plan.share, seed)
        if out.is_dir():
            continue
        fit_settings = {key: plan.settings[key] for key in ("data", "size", "batch_size")}
        values = fit_settings | {"seed": seed, "epochs": epochs}
        best = fit_teacher(fit_config(teacher, values), out, report=console.progress)
        console.say(f"fitted on {plan.share} % of the labels: Dice {best['dice_val']:.4f}")


def compare_teaching(
    plans: Sequence[SharePlan],
    seeds: range,
    runs: Path,
    *,
    left_out: Sequence[Path],
    teacher: str = EMBEDDED,
    fit_epochs: int = FIT_EPOCHS,
) -> Teaching:
    """Train the missing runs of all shares and compare the arms of each.

    Args:
        plans: One for each share of the labels.
        seeds: Seeds of each arm.
        runs: Folder of the runs.
        left_out: Folders that no run sees.
        teacher: The frozen network.
        fit_epochs: Epochs of a fitted head.

    Raises:
        UsageError: `runs` holds a run with different settings.
        DataError: The images cannot be used.
        TrainingError: A run diverged.
    """
    shares = {}
    for plan in plans:
        _fit(plan, runs / "fits", teacher, fit_epochs)
        shares[str(plan.share)] = run_study(
            plan.settings,
            plan.arms,
            seeds,
            runs / f"labels-{plan.share}",
            score=partial(_figures, left_out=left_out),
            left_out=left_out,
        )
    return Teaching(shares=shares, steps={str(plan.share): plan.steps for plan in plans})


def _figures(run: Path, left_out: Sequence[Path]) -> dict[str, float]:
    """Figures of a run on the left-out data sets in FP32 and INT8, and what INT8 loses."""
    figures_left_out = left_out_figures(run, left_out)
    figures = {name: v for name, v in figures_left_out.items() if not name.startswith(CONFIDENCE)}
    for name, value in int8_figures(run, left_out).items():
        plain = name.replace(" INT8", "")
        figures[name] = value
        if plain in figures:
            figures[name.replace("Dice INT8", "Dice lost to INT8")] = figures[plain] - value
    return figures


_CALL = "python -m benchmarks.studies.teaching"


@click.command(
    epilog=console.examples(
        f"{_CALL} --data KVASIR --data CLINICDB --left-out ETIS --images FRAMES --dry-run",
        f"{_CALL} --data KVASIR --left-out CLINICDB --labels 10,100 --arm fitted --out study.json",
    )
)
@options.data()
@options.left_out(required=True)
@options.folders("--images", "Folder of further frames without masks")
@options.VAL_SEQUENCES
@click.option(
    "--labels",
    default="10,30,100",
    show_default=True,
    help="Shares of the labels, in per cent.",
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    type=click.Choice(ARMS),
    help="Arm beside the baseline, repeatable; by default all.",
)
@click.option("--teacher", default=EMBEDDED, show_default=True, help="The frozen network.")
@options.SEEDS
@click.option("--fit-epochs", type=click.IntRange(min=1), default=FIT_EPOCHS, show_default=True)
@options.ASSIGNMENTS
@options.runs("runs/teaching")
@click.option("--dry-run", is_flag=True, help="Print steps and hours, and train nothing.")
@options.OUT
def command(
    data: tuple[Path, ...],
    left_out: tuple[Path, ...],
    images: tuple[Path, ...],
    val_sequences: str,
    labels: str,
    arms: tuple[str, ...],
    teacher: str,
    seeds: int,
    fit_epochs: int,
    assignments: tuple[str, ...],
    runs: Path,
    dry_run: bool,
    json_path: str | None,
) -> None:
    """Compare students that are taught first with those that learn the task alone."""
    from distill.config import parse_assignments

    keep_freed_memory()
    refuse_seen((*data, *images), left_out)
    shares = [int(part) if part.isdecimal() else 0 for part in labels.split(",")]
    if not all(0 < share <= 100 for share in shares) or len(set(shares)) < len(shares):
        raise UsageError("no such shares of the labels", expected="--labels 10,30,100", got=labels)
    settings = SHARED | parse_assignments(assignments)
    chosen = [arm for arm in ARMS if not arms or arm in arms]
    sequences = options.parse_sequences(val_sequences)
    plans = [
        plan_share(
            share,
            write_label_share(
                data, share, runs / "data" / f"labels-{share}", val_sequences=sequences
            ),
            images,
            chosen,
            settings,
            runs / "fits",
            teacher,
        )
        for share in shares
    ]
    if dry_run:
        _show_costs(plans, seeds)
        return
    study = compare_teaching(
        plans, range(seeds), runs, left_out=left_out, teacher=teacher, fit_epochs=fit_epochs
    )
    for share, share_study in study.shares.items():
        console.say(f"{share} % of the labels, {study.steps[share]} steps of every arm")
        show_study(share_study)
    options.write_study(study, json_path)


def _show_costs(plans: Sequence[SharePlan], seeds: int) -> None:
    """Print the steps of each share and the hours that they take here."""
    from distill.config import make_config
    from distill.paper_study.costs import measured_student

    step_s, _, _ = measured_student(make_config(plans[0].settings))
    rows = [
        [plan.share, plan.frames, plan.steps, runs := seeds * len(plan.arms), runs * plan.steps]
        for plan in plans
    ]
    console.table(["labels %", "frames", "steps of a run", "runs", "steps"], rows)
    total = sum(seeds * len(plan.arms) * plan.steps for plan in plans)
    console.say(
        f"{step_s:.3g} s for a step without data: about {total * step_s / 3600:.3g} h and the time "
        "of reading images, teachers and scores"
    )


if __name__ == "__main__":
    run_program(command)
