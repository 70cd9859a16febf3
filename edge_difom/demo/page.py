"""The HTML report of the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.reports import plots
from edge.reports.html import render, video_stills
from edge.reports.parity import parity_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge.bench.report.record import BenchReport
    from edge_difom.demo.record import DemoSettings, DemoSummary

STILLS = 4


def demo_report(
    summary: DemoSummary,
    bench: Mapping[str, BenchReport],
    samples: Mapping[str, Sequence[float]],
    metrics: Sequence[Mapping[str, Any]],
    overlay: Path,
    settings: DemoSettings,
) -> str:
    """Render the HTML report of the demo.

    Args:
        summary: The contents of `summary.json`.
        bench: Engine -> latency record.
        samples: Engine -> whole-frame latencies in milliseconds.
        metrics: Rows of the distillation's `metrics.jsonl`.
        overlay: The video with the overlay.
        settings: The settings of the demo.
    """
    means = {
        name: {stage: values.mean for stage, values in report.first.stages_ms.items()}
        for name, report in bench.items()
    }
    return render(
        "demo.html.j2",
        summary=summary,
        bench=bench,
        plain={name: report.first.latency_empirical_ms for name, report in bench.items()},
        parity=parity_view(summary.parity),
        settings=settings,
        stills=video_stills(overlay, STILLS),
        curve=plots.training_curve(metrics),
        distribution=plots.latency_distribution(samples),
        stages=plots.stage_bars(means),
    )
