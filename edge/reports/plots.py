"""Plots for reports, as SVG text; the only module that imports matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge.util.installation import missing_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from edge.evaluation.detection import Detection


class Plot:
    """A figure that is exported as SVG.

    Args:
        width: Width in inches.
        height: Height in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """

    def __init__(self, width: float = 6.4, height: float = 3.0) -> None:
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise missing_extra("matplotlib", "report") from error
        self._figure = Figure(figsize=(width, height), layout="constrained")
        self.axes: Axes = self._figure.subplots()
        self.axes.spines[["top", "right"]].set_visible(False)
        self.axes.grid(alpha=0.25)

    def svg(self) -> str:
        """Return the figure as an `<svg>` element."""
        buffer = io.StringIO()
        self._figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]


def training_curve(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Plot loss and validation Dice over the epochs of `metrics.jsonl`."""
    plot = Plot()
    epochs = [row["epoch"] for row in metrics]
    plot.axes.plot(epochs, [row["dice_val"] for row in metrics], "o-", label="validation Dice")
    for name, label in (("task", "task loss"), ("distill", "spectral loss")):
        if all(name in row for row in metrics):
            plot.axes.plot(epochs, [row[name] for row in metrics], ".--", label=label)
    plot.axes.set_xlabel("epoch")
    plot.axes.set_ylim(bottom=0)
    plot.axes.legend()
    return plot.svg()


def froc_curves(
    reports: Mapping[str, Detection], against: Literal["false_regions", "flagged"]
) -> str:
    """Plot the share of polyps found over false regions per frame or flagged clean frames.

    Args:
        reports: Label -> figures; the operating point of each is marked.
        against: Quantity on the horizontal axis.

    Returns:
        SVG; empty if no report has both polyps and, for `flagged`, clean frames.
    """
    plot = Plot(width=5.2, height=3.9)
    lowest: list[float] = []
    for number, (label, report) in enumerate(reports.items()):
        if not report.polyps.n or (against == "flagged" and not report.clean.n):
            continue
        color = f"C{number}"
        along = [getattr(point, against) for point in report.froc]
        chosen = (
            report.false_regions
            if against == "false_regions"
            else report.clean.flagged / report.clean.n
        )
        for name, style, means in (
            ("overlapped", "-", "any overlap"),
            ("matched", "--", f"IoU from {report.iou:g}"),
        ):
            shares = [getattr(point, name) for point in report.froc]
            plot.axes.plot(along, shares, style, color=color, marker=".", label=f"{label}, {means}")
            share = getattr(report.polyps, name) / report.polyps.n
            lowest.append(share)
            plot.axes.plot(chosen, share, "D", color=color, markersize=9, markeredgecolor="black")
    if not lowest:
        return ""
    plot.axes.plot([], [], "D", color="none", markeredgecolor="black", label="operating point")
    # Curves differ by a few hundredths near the top, and fall to nothing far below what is of use.
    plot.axes.set_ylim(max(0.0, np.floor(10 * min(lowest) - 2) / 10), 1.02)
    plot.axes.set_xlim(left=0)
    plot.axes.locator_params(axis="x", nbins=6)  # more labels would touch each other
    plot.axes.set_xlabel(
        "false regions per frame" if against == "false_regions" else "share of clean frames flagged"
    )
    plot.axes.set_ylabel("share of polyps found")
    plot.axes.legend(loc="lower right", fontsize="small")
    return plot.svg()


def latency_distribution(samples: Mapping[str, Sequence[float]]) -> str:
    """Plot the share of frames slower than a time, on a logarithmic axis that shows the tail."""
    plot = Plot()
    for name, values in samples.items():
        ordered = sorted(values)
        shares = [1 - index / len(ordered) for index in range(len(ordered))]
        plot.axes.step(ordered, shares, where="post", label=f"{name}, {len(ordered)} frames")
    plot.axes.set_yscale("log")
    plot.axes.set_xlabel("whole frame, ms")
    plot.axes.set_ylabel("share of frames slower")
    plot.axes.legend()
    return plot.svg()


def stage_bars(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Plot the mean milliseconds of each stage, one bar per engine."""
    plot = Plot(height=0.9 + 0.5 * len(stages))
    names = list(dict.fromkeys(stage for row in stages.values() for stage in row))
    engines = list(stages)
    left = [0.0] * len(engines)
    for name in names:
        widths = [stages[engine].get(name, 0.0) for engine in engines]
        plot.axes.barh(engines, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    plot.axes.set_xlabel("mean, ms")
    plot.axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    plot.axes.invert_yaxis()
    return plot.svg()
