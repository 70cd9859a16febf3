"""Train and evaluate the cells of a study, each of them once; a stopped study is continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from distill.data.digests import file_digests
from distill.data.load import draw_splits
from distill.data.splits import Sample
from distill.paper_study.cells import cell_config, has_no_result, study_cells
from distill.run_folder import load_config
from distill.train.evaluation import evaluate_run
from distill.train.runs import ensure_trained, is_finished
from edge.errors import DataError, UsageError
from edge.evaluation.evaluator import read_evaluation
from edge.util.files import atomic_write, json_text, locked, write_json
from edge.util.host import Device, read_device, versions
from edge.util.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from distill.config import DistillConfig
    from distill.paper_study.cells import PaperStudy, StudyCell
    from edge.datasets.public_sets import LabeledFrames
    from edge.evaluation.metrics import EvaluationReport
    from edge.util.progress import Reporter

SETTINGS, RECORD, RUNS, EVALUATIONS = "settings.json", "study.json", "runs", "evaluations"
"""What the folder of a study holds."""


class SetFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy of one cell on one test set.

    Attributes:
        n: Frames with a polyp.
        mean_dice_a: Mean Dice by protocol A; None without such frames.
        mean_iou_a: Mean IoU by protocol A.
        dice_b: Mean Dice by protocol B.
        dice_b_ci95: Its bootstrap 95 % interval over the frames.
        iou_b: Mean IoU by protocol B.
        notes: What a reader of the figures must know of the frames.
    """

    n: int
    mean_dice_a: float | None
    mean_iou_a: float | None
    dice_b: float | None
    dice_b_ci95: tuple[float, float] | None
    iou_b: float | None
    notes: list[str] = []


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the table.

    Attributes:
        student: As the study names it.
        network: The network that was trained.
        foundations: Number of teachers.
        seed: Seed.
        recipe: Recipe of the run.
        result: False for a cell with random teachers, which only shows that it runs.
        sets: Test set -> figures.
    """

    student: str
    network: str
    foundations: int
    seed: int
    recipe: str
    result: bool
    sets: dict[str, SetFigures]


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `study.json`.

    Attributes:
        study: What was trained.
        cells: Results in the order of the table.
        device: The machine.
        versions: Software versions.
    """

    study: dict[str, Any]
    cells: list[CellResult]
    device: Device
    versions: dict[str, str | None]


def run_paper_study(
    study: PaperStudy,
    sets: Mapping[str, LabeledFrames],
    out: Path,
    *,
    announce: Callable[[int, int, str], None] = lambda _n, _total, _name: None,
    report: Reporter = silent,
) -> StudyRecord:
    """Train the missing cells, evaluate them by both protocols, and write the record.

    Args:
        study: What is to be trained.
        sets: Name of each test set -> its frames.
        out: Folder of the study; one that holds this study is continued.
        announce: Called with the number of a cell, the number of cells, and the cell's name.
        report: Shows the progress of training and evaluation.

    Raises:
        UsageError: `out` holds a different study, or a name is unknown.
        DataError: Images cannot be used, or a test frame is trained on.
        TrainingError: A run diverged.
        BusyError: A different process trains a cell.
    """
    cells = study_cells(study)
    configs = {cell: cell_config(study, cell) for cell in cells}
    _refuse_trained_on(next(iter(configs.values())), sets)
    _keep_settings(study, out)
    results = []
    for number, cell in enumerate(cells, 1):
        config, run = configs[cell], out / RUNS / cell.name
        if not is_trained(out, cell, config):
            announce(number, len(cells), cell.name)
        ensure_trained(config, run, report=report)
        results.append(
            CellResult(
                student=cell.student,
                network=config.student.network,
                foundations=cell.foundations,
                seed=cell.seed,
                recipe=config.loss.recipe,
                result=not has_no_result(study, cell),
                sets={name: _evaluated(run, name, sets[name], out, report) for name in sets},
            )
        )
    record = StudyRecord(
        study=msgspec.to_builtins(study),
        cells=results,
        device=read_device(),
        versions=versions(),
    )
    write_json(out / RECORD, record)
    return record


def is_trained(out: Path, cell: StudyCell, config: DistillConfig) -> bool:
    """Whether the folder of a study holds the finished run of a cell with these settings."""
    run = out / RUNS / cell.name
    return is_finished(run) and load_config(run) == config


def _keep_settings(study: PaperStudy, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTINGS
    document = json_text(study)
    with locked(out / ".lock"):
        if not path.is_file():
            atomic_write(path, document)
        elif path.read_bytes() != document:
            raise UsageError(
                f"{out} holds a study with different settings",
                expected=path.read_text(encoding="utf-8", errors="replace"),
                hint="choose a different folder, or the settings of that study",
            )


def _refuse_trained_on(config: DistillConfig, sets: Mapping[str, LabeledFrames]) -> None:
    """Refuse test frames that are trained on or validated on, whatever their names."""
    trained_digests = set(
        file_digests([_bare(s.image) for s in draw_splits(config.data).samples()]).values()
    )
    for name, frames in sets.items():
        files = file_digests([_bare(str(pair.image)) for pair in frames.pairs])
        both = [path for path, digest in files.items() if digest in trained_digests]
        if both:
            raise DataError(
                f"test frames of {name} are among the frames to train on",
                expected="test sets that no run sees",
                got=f"{len(both)} of {len(files)}, such as {both[0]}",
                hint="train on the training part of the data alone",
            )


def _bare(image: str) -> Sample:
    return Sample(image, "", "", "")


def _evaluated(
    run: Path, name: str, frames: LabeledFrames, out: Path, report: Reporter
) -> SetFigures:
    """Figures of a run on a set; an evaluation that is newer than the weights is kept."""
    path = out / EVALUATIONS / run.name / f"{name}.json"
    weights = run / "checkpoints" / "best.pt"
    if path.is_file() and path.stat().st_mtime_ns >= weights.stat().st_mtime_ns:
        evaluation = read_evaluation(path)
    else:
        with report(len(frames.pairs), f"evaluate {run.name} on {name}") as bar:
            evaluation = evaluate_run(
                run,
                frames.pairs,
                dataset=name,
                protocol_a=True,
                done=lambda done: bar.update(1, done),
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, evaluation)
    return _figures(evaluation, frames)


def _figures(report: EvaluationReport, frames: LabeledFrames) -> SetFigures:
    field = report.protocol_a
    return SetFigures(
        n=report.n,
        mean_dice_a=None if field is None else field.mean_dice,
        mean_iou_a=None if field is None else field.mean_iou,
        dice_b=report.dice,
        dice_b_ci95=report.dice_ci95,
        iou_b=report.iou,
        notes=list(frames.notes),
    )
