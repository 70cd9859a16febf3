"""`python -m benchmarks.studies.clean_frames`: which part of the shipped recipe pays?

The baseline is the last stage of the shipped `edge-s`: clean frames, pseudo-labels of frames
without masks, pasted polyps, balanced hospitals and shifted views. Each other arm lacks one of
them. All arms are trained in pairs (`benchmarks.studies.paired`) and scored on the polyps of
hospitals that no run has seen, beside the clean sequences that no run has trained on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.studies import options
from benchmarks.studies.detection import flagged_at
from benchmarks.studies.kept_figures import figures_by_folder, flat
from benchmarks.studies.left_out import left_out_pairs, refuse_seen
from benchmarks.studies.paired import run_study, show_study
from edge.datasets.negatives import CleanFrame
from edge.errors import UsageError
from edge_difom.cli import console
from edge_difom.cli.main import run_program
from edge_difom.runtime_env import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.studies.paired import Study
    from edge.evaluation.metrics import EvaluationReport

SHARED: dict[str, Any] = {
    "recipe": "none",
    "teachers": [],
    "student": "edge-s",
    "size": 128,
    "epochs": 8,
    "lr": 0.003,
    "encoder_lr": 0.3,
    "ema": 0.98,
    "negative_share": 0.3125,
    "clean_weight": 2.0,
    "balance": 1.0,
    "pasted_polyps": 0.2,
    "shifted_views": 0.5,
    "polyp_free_views": 0.1,
    "unlabeled_share": 0.1875,
}
"""Settings of the baseline, before those of the command line."""
ARMS: dict[str, dict[str, Any]] = {
    "all": {},
    "no-clean-frames": {"negatives": [], "pasted_polyps": 0.0},
    "no-loss-of-their-own": {"clean_weight": 0.0},
    "no-pasted-polyps": {"pasted_polyps": 0.0},
    "no-pseudo-labels": {"unlabeled": []},
    "no-balance": {"balance": 0.0},
    "no-shifted-views": {"shifted_views": 0.0},
}
"""Arms, the baseline first -> what they change of it."""
RECORD = "clean-frames.json"
"""File of a run that keeps its figures."""
TARGET_RECALL = 0.95
"""Share of the polyps found at which false alarms are compared."""
FLAGGED = 0.05
"""Share of the clean frames flagged at which found polyps are compared."""
_CALL = "python -m benchmarks.studies.clean_frames"


@click.command(
    epilog=console.examples(
        f"{_CALL} --data KVASIR --negatives CLEAN --unlabeled FRAMES --left-out BKAI --out R.json"
    )
)
@options.data()
@options.folders(
    "--negatives", "Clean frames; the sequences that validate are scored", required=True
)
@options.folders("--unlabeled", "Frames without masks", required=True)
@options.left_out(required=True)
@click.option("--arm", "chosen", multiple=True, type=click.Choice(list(ARMS)[1:]))
@options.VAL_SEQUENCES
@options.SEEDS
@options.ASSIGNMENTS
@options.runs("runs/clean-frames")
@options.OUT
def command(
    data: tuple[Path, ...],
    negatives: tuple[Path, ...],
    unlabeled: tuple[Path, ...],
    left_out: tuple[Path, ...],
    chosen: tuple[str, ...],
    val_sequences: str,
    seeds: int,
    assignments: tuple[str, ...],
    runs: Path,
    json_path: str | None,
) -> None:
    """Train the shipped recipe and the same without each of its parts, and compare them."""
    from distill.config import parse_assignments

    keep_freed_memory()
    settings: dict[str, Any] = {
        "negatives": options.absolute(negatives),
        "unlabeled": options.absolute(unlabeled),
    } | parse_assignments(assignments)
    if val_sequences:
        settings["val_sequences"] = options.parse_sequences(val_sequences)
    study = compare_parts(
        data, range(seeds), runs, left_out=left_out, settings=settings, chosen=chosen
    )
    show_study(study)
    options.write_study(study, json_path)


def compare_parts(
    data: Sequence[Path],
    seeds: range,
    runs: Path,
    *,
    left_out: Sequence[Path],
    settings: dict[str, Any],
    chosen: Sequence[str] = (),
) -> Study:
    """Train the missing runs and compare the arms.

    Args:
        data: Folders to train and validate on.
        seeds: Seeds of each arm.
        runs: Folder of the runs.
        left_out: Folders with polyps that no run sees.
        settings: Settings of all runs, `negatives` and `unlabeled` among them.
        chosen: Arms beside the baseline; all if empty.

    Raises:
        UsageError: A left-out folder is trained on, the clean frames have no sequence to validate
            on, or `runs` holds a run with different settings.
        TrainingError: A run diverged.
        DataError: The images cannot be used.
    """
    from distill.data.splits import load_negatives

    training_data = [*data, *map(Path, settings["unlabeled"])]
    refuse_seen(training_data, left_out)
    shared = {"data": options.absolute(data)} | SHARED | settings
    _, clean_frames = load_negatives([Path(folder) for folder in settings["negatives"]])
    if not clean_frames:
        raise UsageError(
            "no clean sequence is kept from the training",
            expected="clean frames of two sequences or more",
        )
    clean = [
        CleanFrame(Path(one.image), one.dataset, one.group.removeprefix(f"{one.dataset}/"))
        for one in clean_frames
    ]
    baseline = next(iter(ARMS))
    study = run_study(
        shared,
        {name: ARMS[name] for name in ARMS if not chosen or name in (baseline, *chosen)},
        seeds,
        runs,
        score=partial(_figures, left_out=left_out, clean=clean),
        left_out=left_out,
    )
    names = {
        key: [Path(folder).name for folder in settings[key]] for key in ("negatives", "unlabeled")
    }
    return msgspec.structs.replace(study, shared=study.shared | names)


def _figures(run: Path, left_out: Sequence[Path], clean: list[CleanFrame]) -> dict[str, float]:
    """Figures of a finished run on the left-out folders and the clean frames, kept beside it."""
    from distill.train.evaluation import evaluate_run

    return flat(
        figures_by_folder(
            run / RECORD,
            left_out,
            lambda folder: summarize(
                evaluate_run(run, left_out_pairs(folder), clean=clean, dataset=folder.name)
            ),
            dict[str, float],
        )
    )


def summarize(report: EvaluationReport) -> dict[str, float]:
    """Return Dice, and false alarms and found polyps against each other over the minimum peak.

    Args:
        report: An evaluation of frames with polyps and clean frames.
    """
    figures = {} if report.dice is None else {"Dice": report.dice}
    curve = [] if report.detection is None else report.detection.froc
    flagged = flagged_at(curve, TARGET_RECALL)
    # A curve that never finds so many polyps would flag every frame to do so.
    figures[f"clean frames flagged at {TARGET_RECALL:.0%} found"] = (
        1.0 if flagged is None else flagged
    )
    quiet = [p.overlapped or 0.0 for p in curve if (p.flagged or 0.0) <= FLAGGED]
    figures[f"polyps found at {FLAGGED:.0%} flagged"] = max(quiet, default=0.0)
    return figures


if __name__ == "__main__":
    run_program(command)
