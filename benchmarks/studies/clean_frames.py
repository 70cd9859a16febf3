"""`python -m benchmarks.studies.clean_frames`: which part of the shipped recipe pays?

The baseline is the last stage of the shipped `edge-s`: clean frames, pseudo-labels of frames
without masks, pasted polyps, balanced hospitals and shifted views. Each other arm lacks one of
them. All arms are trained in pairs (`benchmarks.studies.paired`) and scored on the polyps of
hospitals that no run has seen, beside the clean sequences that no run has trained on.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.studies.detection import flagged_at
from benchmarks.studies.left_out import left_out_pairs, refuse_seen
from benchmarks.studies.paired import run_study, show_study
from edge.datasets.negatives import CleanFrame
from edge.errors import EdgeDifomError, UsageError
from edge.util.files import atomic_write
from edge_difom.cli import console
from edge_difom.runtime_env import configure, keep_freed_memory

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
FOUND = 0.95
"""Share of the polyps found at which false alarms are compared."""
FLAGGED = 0.05
"""Share of the clean frames flagged at which found polyps are compared."""
_CALL = "python -m benchmarks.studies.clean_frames"


@click.command(
    epilog=console.examples(
        f"{_CALL} --data KVASIR --negatives CLEAN --unlabeled FRAMES --left-out BKAI --out R.json"
    )
)
@click.option(
    "--data", multiple=True, required=True, type=click.Path(path_type=Path), metavar="DIR"
)
@click.option(
    "--negatives",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Clean frames; the sequences that validate are scored.  [repeatable]",
)
@click.option(
    "--unlabeled",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Frames without masks.  [repeatable]",
)
@click.option(
    "--left-out",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder that no run sees, such as another hospital's, all of which is scored.  "
    "[repeatable]",
)
@click.option("--arm", "chosen", multiple=True, type=click.Choice(list(ARMS)[1:]))
@click.option("--val-sequences", default="", metavar="3,8,13")
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs/clean-frames"), show_default=True
)
@click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")
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
        "negatives": [str(folder.resolve()) for folder in negatives],
        "unlabeled": [str(folder.resolve()) for folder in unlabeled],
    } | parse_assignments(assignments)
    if val_sequences:
        settings["val_sequences"] = [int(part) for part in val_sequences.split(",")]
    study = compare_parts(
        data, range(seeds), runs, left_out=left_out, settings=settings, chosen=chosen
    )
    show_study(study)
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)


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

    seen = [*data, *map(Path, settings["unlabeled"])]
    refuse_seen(seen, left_out)
    shared = {"data": [str(folder.resolve()) for folder in data]} | SHARED | settings
    _, held = load_negatives([Path(folder) for folder in settings["negatives"]])
    if not held:
        raise UsageError(
            "no clean sequence is kept from the training",
            expected="clean frames of two sequences or more",
        )
    clean = [
        CleanFrame(Path(one.image), one.dataset, one.group.removeprefix(f"{one.dataset}/"))
        for one in held
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

    path = run / RECORD
    weights = run / "checkpoints" / "best.pt"
    kept: dict[str, dict[str, float]] = {}
    if path.is_file() and path.stat().st_mtime_ns >= weights.stat().st_mtime_ns:
        kept = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]])
    figures: dict[str, float] = {}
    for folder in left_out:
        place = str(folder.resolve())
        if place not in kept:
            pairs = left_out_pairs(folder)
            kept[place] = summarize(evaluate_run(run, pairs, clean=clean, dataset=folder.name))
            atomic_write(path, msgspec.json.format(msgspec.json.encode(kept)))
        figures |= {f"{name}, {folder.name}": value for name, value in kept[place].items()}
    return figures


def summarize(report: EvaluationReport) -> dict[str, float]:
    """Return Dice, and false alarms and found polyps against each other over the minimum peak.

    Args:
        report: An evaluation of frames with polyps and clean frames.
    """
    figures = {} if report.dice is None else {"Dice": report.dice}
    curve = [] if report.detection is None else report.detection.froc
    flagged = flagged_at(curve, FOUND)
    # A curve that never finds so many polyps would flag every frame to do so.
    figures[f"clean frames flagged at {FOUND:.0%} found"] = 1.0 if flagged is None else flagged
    quiet = [p.overlapped or 0.0 for p in curve if (p.flagged or 0.0) <= FLAGGED]
    figures[f"polyps found at {FLAGGED:.0%} flagged"] = max(quiet, default=0.0)
    return figures


if __name__ == "__main__":
    configure()
    try:
        command()
    except EdgeDifomError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
