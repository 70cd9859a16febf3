"""Charts on the page of an evaluation: Dice over threshold, and figures with their intervals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.evaluation.intervals import wilson
from edge.evaluation.metrics import SIZES, size_of
from edge.reports import plots
from edge.reports.drawing import Chart, Scale
from edge.reports.interval_plot import Dot, DotRow, interval_plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge.evaluation.detection import Detection, PolypCounts
    from edge.evaluation.metrics import (
        EvaluationReport,
        ImageScore,
        ProtocolA,
        ShiftFigures,
        ShiftReport,
    )

_BINS = 20
_UNIT = Scale(0.0, 1.0)

MEASURES = (
    ("mean Dice", "mean_dice", "dice"),
    ("max Dice", "max_dice", None),
    ("mean IoU", "mean_iou", "iou"),
    ("max IoU", "max_iou", None),
    ("weighted F", "weighted_f", None),
    ("S-measure", "s_measure", None),
    ("mean E", "mean_e", None),
    ("max E", "max_e", None),
    ("MAE (smaller is better)", "mae", None),
)
"""Label, attribute of protocol A, attribute of the report for protocol B."""


def size_names() -> dict[str, str]:
    """Return size -> name with its bounds."""
    names, low = {}, 0.0
    for name, bound in SIZES.items():
        over = f"{100 * low:g} % or more" if low else ""
        under = f"under {100 * bound:g} %" if bound < 1 else ""
        names[name] = f"{name}: {', '.join(filter(None, (over, under)))}"
        low = bound
    return names


def _short_names() -> dict[str, str]:
    """Return size -> name with its bounds, short enough for the label of a row."""
    bounds = [f"{100 * bound:g}" for bound in SIZES.values()]
    first, *middle, last = SIZES
    names = {first: f"{first}, under {bounds[0]} %"}
    names |= {
        name: f"{name}, {low} to {high} %"
        for name, low, high in zip(middle, bounds, bounds[1:], strict=False)
    }
    return names | {last: f"{last}, from {bounds[-2]} %"}


def froc(report: EvaluationReport, compare: tuple[str, EvaluationReport] | None) -> list[str]:
    """Draw the FROC curves over false regions and over flagged clean frames, if possible."""
    curves = {"this evaluation": report.detection} | (
        {compare[0]: compare[1].detection} if compare else {}
    )
    detections = {label: detection for label, detection in curves.items() if detection is not None}
    charts = (
        [plots.froc_curves(detections, "false_regions"), plots.froc_curves(detections, "flagged")]
        if detections
        else []
    )
    return [curve for curve in charts if curve]


def dice_over_threshold(
    report: EvaluationReport, compare: tuple[str, EvaluationReport] | None
) -> str:
    """Draw Dice over the threshold, with the operating point's threshold; empty without a curve."""
    curves = [
        [(point.threshold, point.dice) for point in evaluation.dice_by_threshold]
        for evaluation in (report, *((compare[1],) if compare else ()))
    ]
    if not curves[0]:
        return ""
    chart = Chart(
        _UNIT,
        Scale(0.0, 1.0),
        x_label="threshold of the score",
        y_label="mean Dice of an image",
        width=480,
        height=260,
    )
    if report.detection is not None:
        chart.line([(report.detection.threshold, 0.0), (report.detection.threshold, 1.0)], "front")
    for points, kind in zip(curves, "ab", strict=False):
        chart.line(points, kind)
        chart.dots(points, kind, radius=2.5)
    return chart.svg("mean Dice over the threshold")


def dice_by_size(report: EvaluationReport) -> str:
    """Draw mean Dice with its interval, of all images and by the size of the polyp."""
    rows = [DotRow(f"all ({report.n})", [_dot(report.dice, report.dice_ci95)])] if report.n else []
    for name, label in _short_names().items():
        group = report.by_size.get(name)
        if group is not None and group.n:
            rows.append(DotRow(f"{label} ({group.n})", [_dot(group.dice, group.dice_ci95)]))
    return interval_plot(rows, "Dice by polyp size", x_label="mean Dice, protocol B", x=_UNIT)


def found_by_size(detection: Detection) -> str:
    """Draw the shares of polyps found and outlined, of all polyps and by size and data set."""
    rows = [_found_row("all polyps", detection.polyps)]
    rows += [
        _found_row(label, detection.by_size[name])
        for name, label in _short_names().items()
        if detection.by_size[name].n
    ]
    if sum(group.polyps > 0 for group in detection.by_set.values()) > 1:
        rows += [
            DotRow(
                f"{name} ({group.polyps})",
                [
                    Dot(count / group.polyps, wilson(count, group.polyps))
                    for count in (group.overlapped, group.matched)
                ],
            )
            for name, group in detection.by_set.items()
            if group.polyps
        ]
    return interval_plot(
        rows if detection.polyps.n else [],
        "share of polyps found and outlined",
        x_label="share of polyps",
        x=_UNIT,
    )


def measures(field: ProtocolA) -> str:
    """Draw the field's measures with their intervals."""
    rows = [
        DotRow(label, [Dot(getattr(field, name), field.ci95.get(name))])
        for label, name, _ in MEASURES
    ]
    return interval_plot(rows, "measures of protocol A", x_label="protocol A", x=_UNIT)


def shift_chart(shifts: ShiftReport) -> str:
    """Draw the change of Dice under each shift at each strength, one dot per engine."""
    rows = [
        DotRow(
            f"{row.shift}, {row.strength:g}", [_change(figures) for figures in row.engines.values()]
        )
        for row in shifts.rows
        if row.strength
    ]
    return interval_plot(
        rows, "change of Dice under each shift", x_label="change of mean Dice", zero=True
    )


def dice_histogram(rows: Sequence[ImageScore]) -> str:
    """Draw a histogram of Dice by polyp size, as SVG; empty if no image has a polyp."""
    columns = {
        name: [row.dice for row in rows if row.dice is not None and size_of(row.area_true) == name]
        for name in SIZES
    }
    if not any(columns.values()):
        return ""
    plot = plots.Plot()
    edges = np.linspace(0, 1, _BINS + 1)
    bottom = np.zeros(_BINS)
    for name, values in columns.items():
        if not values:
            continue
        counts = np.histogram(values, bins=edges)[0]
        plot.axes.bar(
            edges[:-1],
            counts,
            width=1 / _BINS,
            align="edge",
            bottom=bottom,
            label=f"{name}, {len(values)}",
        )
        bottom += counts
    plot.axes.set_xlim(0, 1)
    plot.axes.set_xlabel("Dice of an image, protocol B")
    plot.axes.set_ylabel("images")
    plot.axes.legend(loc="upper left")
    return plot.svg()


def fit_curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Draw R^2 per teacher and band over the epochs, as SVG; empty if the run has no R^2.

    Args:
        metrics: Rows; each key that contains the word `r2` is a curve.
    """
    keys = sorted(
        {key for row in metrics for key in row if "r2" in re.split(r"[^a-z0-9]+|_", key.lower())}
    )
    if not keys:
        return ""
    plot = plots.Plot()
    for key in keys:
        points = [
            (row["epoch"], row[key]) for row in metrics if isinstance(row.get(key), int | float)
        ]
        plot.axes.plot([x for x, _ in points], [y for _, y in points], ".-", label=key)
    plot.axes.axhline(0, color="0.5", linewidth=0.8)
    plot.axes.set_xlabel("epoch")
    plot.axes.set_ylabel("R² of the teacher's bands")
    plot.axes.legend()
    return plot.svg()


def _found_row(label: str, counts: PolypCounts) -> DotRow:
    n = counts.n or 1
    return DotRow(
        f"{label} ({counts.n})",
        [
            Dot(counts.overlapped / n, counts.overlapped_ci95),
            Dot(counts.matched / n, counts.matched_ci95),
        ],
    )


def _change(figures: ShiftFigures) -> Dot | None:
    return _dot(figures.change, figures.change_ci95)


def _dot(value: float | None, interval: tuple[float, float] | None) -> Dot | None:
    return None if value is None else Dot(value, interval)
