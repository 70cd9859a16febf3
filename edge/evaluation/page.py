"""The HTML page of an evaluation: figures of both protocols, charts, and best and worst frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import DataError
from edge.evaluation import page_charts as charts
from edge.evaluation.intervals import bootstrap_ci
from edge.reports import plots
from edge.reports.html import render
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge.evaluation.detection import GroupCounts
    from edge.evaluation.gallery import Gallery
    from edge.evaluation.metrics import EvaluationReport


def require_extras() -> None:
    """Check the packages that the page needs before the evaluation starts.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    resolve("jinja2:Environment")
    resolve("matplotlib.figure:Figure")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read a run's `metrics.jsonl`, one row per epoch; empty if the file does not exist.

    Raises:
        DataError: The file is not one JSON object per line.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return msgspec.json.Decoder(dict[str, Any]).decode_lines(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read", expected="one JSON object per line", got=str(error)
        ) from error


def evaluation_page(
    report: EvaluationReport,
    gallery: Gallery,
    *,
    subject: str,
    data: str,
    metrics: Sequence[Mapping[str, Any]] = (),
    compare: tuple[str, EvaluationReport] | None = None,
) -> str:
    """Render the page as one self-contained HTML file.

    Args:
        report: The figures.
        gallery: The frames to show.
        subject: Name of the evaluated model, for the heading.
        data: Name of the data, for the heading.
        metrics: Rows of a run's `metrics.jsonl`.
        compare: Name and report of an earlier evaluation, whose curves are drawn too.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    curves = [row for row in metrics if {"epoch", "dice_val"} <= row.keys()]
    detection, field, shifts = report.detection, report.protocol_a, report.shifts
    return render(
        "evaluation.html.j2",
        report=report,
        gallery=gallery,
        subject=subject,
        data=data,
        compared=compare[0] if compare and compare[1].dice_by_threshold else "",
        figures=_rows(report),
        sizes=charts.size_names(),
        by_size=charts.dice_by_size(report),
        found=charts.found_by_size(detection) if detection else "",
        over_threshold=charts.dice_over_threshold(report, compare),
        froc=charts.froc(report, compare),
        sequences=_clean_sequences(report),
        measures=charts.measures(field) if field else "",
        engines=list(shifts.rows[0].engines) if shifts else [],
        shift_chart=charts.shift_chart(shifts) if shifts else "",
        strengths={row.shift: row.means for row in shifts.rows if row.strength} if shifts else {},
        distribution=charts.dice_histogram(report.per_image),
        curve=plots.training_curve(curves) if curves else "",
        quality=charts.fit_curves(curves),
    )


def _clean_sequences(report: EvaluationReport) -> list[tuple[str, GroupCounts]]:
    """Return the sequences with clean frames, those with the most flagged frames first."""
    groups = report.detection.by_sequence.items() if report.detection else ()
    return sorted(
        ((name, group) for name, group in groups if group.clean),
        key=lambda item: (-item[1].flagged, item[0]),
    )


def _rows(report: EvaluationReport) -> list[dict[str, Any]]:
    """Return one row per measure: protocol A, and protocol B if it has that measure."""
    field = report.protocol_a
    iou = [row.iou for row in report.per_image if row.iou is not None]
    intervals = {"dice": report.dice_ci95, "iou": bootstrap_ci(iou) if iou else None}
    return [
        {
            "label": label,
            "a": getattr(field, name) if field else None,
            "a_ci95": field.ci95.get(name) if field else None,
            "b": getattr(report, measure) if measure else None,
            "b_ci95": intervals[measure] if measure else None,
        }
        for label, name, measure in charts.MEASURES
        if field or measure
    ]
