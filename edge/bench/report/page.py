"""Render the latency report as one self-contained page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bench.measure.percentiles import PERCENTILES, min_samples
from edge.bench.report import charts
from edge.reports.html import render
from edge.reports.parity import parity_view

if TYPE_CHECKING:
    from edge.bench.report.record import BenchReport

_SERIES = ("latency", "temperature_c", "frequency_mhz", "power_w", "rss_mb")


def report_page(report: BenchReport) -> str:
    """Render the page as HTML.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return render(
        "bench.html.j2",
        report=report,
        share=report.share_of_peak,
        least={name: min_samples(p) for name, p in PERCENTILES.items()},
        kinds=charts.KINDS,
        waterfalls=[charts.waterfall(load) for load in report.loads],
        distribution=charts.distribution(report.loads),
        series={
            name: drawings for name in _SERIES if (drawings := charts.series(report.loads, name))
        },
        roofline=charts.roofline(report),
        parity=parity_view(report.parity),
    )
