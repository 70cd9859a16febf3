"""Figures of a run on data sets that it has not seen, such as those of another hospital.

The FP32 weights that the run's own validation frames chose are scored by protocol B at native mask
size, so that no frame of these data sets selects the weights. The figures are kept in the run's
folder, and a study that is started again does not compute them twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.studies.kept_figures import figures_by_folder, flat
from edge.datasets.pairs import find_pairs
from edge.datasets.parts import find_parts
from edge.errors import UsageError
from edge.frame import DEFAULT_OPERATING_POINT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.datasets.pairs import Pair
    from edge.evaluation.metrics import EvaluationReport

RECORD = "left-out.json"
"""File of a run that keeps its figures by data set."""
_NAMES = ("ECE", "AURC", "Dice at 90 % coverage")
CONFIDENCE = tuple(f"{name}{source}" for source in ("", " by maximum score") for name in _NAMES)
"""Figures of a student's confidence, and of its maximum score in place of it."""
SMALL = 0.02
"""Share of the image below which a polyp counts as small here, as in the literature on RPCANet."""


def left_out_pairs(root: Path) -> list[Pair]:
    """Return all pairs of a folder, with those of both parts if it is split.

    Raises:
        DataError: The folder cannot be used.
    """
    parts = find_parts(root)
    return find_pairs(root) if parts is None else [*parts.train, *parts.validation]


def refuse_seen(data: Sequence[Path], left_out: Sequence[Path]) -> None:
    """Refuse a left-out folder that is also trained on.

    Raises:
        UsageError: A folder is on both sides.
    """
    both = {folder.resolve() for folder in data} & {folder.resolve() for folder in left_out}
    if both:
        raise UsageError(
            f"{min(both)} is trained on and left out",
            expected="a left-out data set that no run sees",
        )


def left_out_figures(run: Path, folders: Sequence[Path]) -> dict[str, float]:
    """Score a finished run on data sets that it has not seen.

    Args:
        run: Folder of the run.
        folders: The data sets.

    Returns:
        For each data set `Dice, NAME`, `false regions, NAME` (for each frame), those of
        `CONFIDENCE` and, if it has small polyps, `recall under 2 %, NAME`.

    Raises:
        DataError: A data set cannot be used.
        TrainingError: The run's checkpoint cannot be used.
    """
    from distill.train.evaluation import evaluate_run

    return flat(
        figures_by_folder(
            run / RECORD,
            folders,
            lambda folder: summarize_left_out(
                evaluate_run(run, left_out_pairs(folder), dataset=folder.name)
            ),
            dict[str, float],
            is_complete=lambda figures: set(CONFIDENCE) <= figures.keys(),
        )
    )


def left_out_boxes(run: Path, folders: Sequence[Path]) -> dict[str, float]:
    """Judge the boxes of a finished run on data sets that it has not seen.

    Args:
        run: Folder of the run.
        folders: The data sets.

    Returns:
        For each data set precision, recall, F1 and average precision at an IoU of .5, such as
        `F1 of boxes, NAME`, of the bounding boxes of the mask's regions; for a student with a
        detection head also of its boxes, such as `F1 of the head, NAME`.

    Raises:
        DataError: A data set cannot be used.
        TrainingError: The run's checkpoint cannot be used.
    """
    from contextlib import ExitStack

    from distill.run_folder import load_config
    from edge.evaluation.delimit.base import BoxDelineator
    from edge.evaluation.delimit.build import Opening, build_detector
    from edge.evaluation.delimit.run import evaluate_delimit

    detectors = {"boxes": f"student:{run}"}
    if load_config(run).student.detection:
        detectors["the head"] = f"detection:{run}"
    figures: dict[str, float] = {}
    for folder in folders:
        for name, text in detectors.items():
            with ExitStack() as stack:
                report = evaluate_delimit(
                    left_out_pairs(folder),
                    build_detector(text, Opening(stack)),
                    BoxDelineator(),
                    names=(text, "box"),
                    dataset=folder.name,
                )
            boxes = report.boxes
            values = {
                "precision": boxes.precision,
                "recall": boxes.recall,
                "F1": boxes.f1,
                "AP": boxes.average_precision,
            }
            figures |= {
                f"{key} of {name}, {folder.name}": value
                for key, value in values.items()
                if value is not None
            }
    return figures


def summarize_left_out(report: EvaluationReport) -> dict[str, float]:
    """Return the figures of one data set.

    Args:
        report: The evaluation of a run, with the findings of each image.
    """
    figures = {} if report.dice is None else {"Dice": report.dice}
    findings = [row.findings for row in report.per_image if row.findings is not None]
    least = DEFAULT_OPERATING_POINT.min_peak
    if findings:
        false = sum(peak >= least for item in findings for peak in item.false_peaks)
        figures["false regions"] = false / len(findings)
    small = [polyp for item in findings for polyp in item.polyps if polyp.area < SMALL]
    if small:
        seen_polyps = [p for p in small if p.overlap_peak is not None and p.overlap_peak >= least]
        figures["recall under 2 %"] = len(seen_polyps) / len(small)
    if report.confidence:
        by_name = report.confidence.by_confidence
        plain = by_name["maximum score"]
        values = [
            value
            for findings in (by_name.get("confidence", plain), plain)
            for value in (findings.ece, findings.aurc, findings.quality_at_coverage)
        ]
        figures |= dict(zip(CONFIDENCE, values, strict=True))
    return figures
