"""The charts of a latency report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bench.report.profile_record import BYTES
from edge.reports.drawing import Chart, Scale, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bench.report.record import BenchReport, LoadReport

KINDS = ("a", "b", "c", "d", "e")
"""CSS classes of the colors, one per load or stage, in this order."""

_TAIL_POINTS = 300
_MARKED = ("p50", "p90", "p99", "p99.9", "p99.99")


def waterfall(load: LoadReport) -> str:
    """Draw each stage's mean at its position within the frame, with its p99 as a thin line."""
    stages = {name: stage for name, stage in load.stages_ms.items() if stage.mean > 0}
    ends = [stage.p99 or stage.mean for stage in stages.values()]
    total = sum(stage.mean for stage in stages.values())
    begin, reach = 0.0, total
    for stage, end in zip(stages.values(), ends, strict=True):
        reach = max(reach, begin + end)
        begin += stage.mean
    rows = {float(len(stages) - index): name for index, name in enumerate(stages)}
    chart = Chart(
        Scale(0.0, reach * 1.04),
        Scale(0.4, len(stages) + 0.6),
        x_label="ms since the capture of the frame",
        y_ticks={},
        height=66 + 40 * len(stages),
    )
    begin = 0.0
    for (y, name), kind in zip(rows.items(), KINDS, strict=False):
        stage = stages[name]
        tail = begin + (stage.p99 or stage.mean)
        chart.bar(begin, begin + stage.mean, y, kind)
        if stage.p99 is not None:
            chart.span(begin, tail, y, kind)
        p99 = f", p99 {stage.p99:.3g}" if stage.p99 is not None else ""
        # Write beside the bar if there is room, else over it.
        far = max(tail, begin + stage.mean) > reach * 0.6
        text = f"{name} {stage.mean:.3g} ms{p99}"
        chart.note(begin if far else tail, y, text, lift=-12 if far else 4, push=0 if far else 8)
        begin += stage.mean
    return chart.svg("mean and p99 of each stage")


def distribution(loads: Sequence[LoadReport]) -> str:
    """Draw the share of frames slower than a time, log-log, with the bounds and their intervals."""
    values = [value for load in loads for value in (min(load.samples_us), max(load.samples_us))]
    most = max(load.samples for load in loads)
    scale = Scale.over([value / 1e3 for value in values], log=True)
    chart = Chart(
        scale,
        Scale(0.5 / most, 1.3, True),
        x_label="whole frame, ms",
        y_label="share of frames slower",
        height=330,
        y_ticks={1.0: "1"}
        | {1 - _share(name): name for name in _MARKED if 1 - _share(name) > 0.5 / most},
    )
    for load, kind in zip(loads, KINDS, strict=False):
        chart.line(_tail([value / 1e3 for value in load.samples_us]), kind, step=True)
        for name, interval in load.latency_ci95_ms.items():
            if interval:
                chart.span(*interval, 1 - _share(name), kind)
        chart.dots(
            [
                (bound, 1 - _share(name))
                for name, bound in load.latency_ms.items()
                if bound is not None
            ],
            kind,
            radius=4,
        )
    return chart.svg("distribution of whole-frame latency with its tail")


def series(loads: Sequence[LoadReport], name: str) -> str:
    """Draw one quantity of `Moment` over the time of every load; empty if no load has it.

    Args:
        loads: The loads in order.
        name: `latency`, `temperature_c`, `frequency_mhz`, `power_w` or `rss_mb`.
    """
    end = max(load.seconds for load in loads)
    lines = []
    for load in loads:
        field = "p50_ms" if name == "latency" else name
        points = [(row.at_s, getattr(row, field)) for row in load.series]
        lines.append([(at, value) for at, value in points if value is not None])
    values = [value for line in lines for _, value in line]
    if not values:
        return ""
    labels = {
        "latency": "ms (line p50, dots longest)",
        "temperature_c": "hottest, °C",
        "frequency_mhz": "frequency, MHz",
        "power_w": "power, W",
        "rss_mb": "memory, MiB",
    }
    if name == "latency":
        values += [row.max_ms for load in loads for row in load.series]
    y = Scale.over(values, log=name == "latency" and max(values) > 4 * min(values))
    chart = Chart(
        Scale(0.0, end),
        y,
        x_label="seconds since the load began",
        y_label=labels[name],
        height=230 if name == "latency" else 150,
    )
    for load, line, kind in zip(loads, lines, KINDS, strict=False):
        if name == "latency":
            chart.dots([(row.at_s, row.max_ms) for row in load.series], kind, radius=1.6)
        chart.line(line, kind)
    return chart.svg(f"{labels[name]} over time")


def roofline(report: BenchReport) -> str:
    """Draw the engine's roofline; empty without a profile or the work of an inference."""
    alone, work, profile = report.inference_only_ms, report.work, report.profile
    if alone is None or work is None or profile is None:
        return ""
    executed = str(report.settings.get("precision", report.precision))
    peaks = [row for row in profile.peaks if row.engine == report.engine]
    if not peaks or executed not in BYTES:
        return ""
    reached = work.giga_operations / (alone.p50 or alone.mean) * 1e3
    intensity, bandwidth = work.intensity(executed), profile.copy_gb_s
    top = max(row.giga_operations_per_second for row in peaks)
    x = Scale(min(0.5, intensity / 3), max(4 * top / bandwidth, 4 * intensity), True)
    y = Scale(min(reached, bandwidth * x.low) / 2, top * 2, True)
    chart = Chart(
        x, y, x_label="operations per byte", y_label="10⁹ operations per second", height=300
    )
    chart.line([(x.low, bandwidth * x.low), (top / bandwidth, top)], "roof")
    chart.note(x.low, top, f"memory {bandwidth:.3g} GB/s (slope)", push=8, lift=-4)
    for row in peaks:
        speed = row.giga_operations_per_second
        chart.line([(speed / bandwidth, speed), (x.high, speed)], "roof")
        chart.note(x.high, speed, f"{row.engine} {row.precision} {number(round(speed))}", push=0)
    chart.dots([(intensity, reached)], "a", radius=6)
    chart.note(intensity, reached, f"this engine {number(round(reached, 1))}", push=10, lift=14)
    return chart.svg("roofline")


def _share(name: str) -> float:
    return float(name.removeprefix("p")) / 100


def _tail(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return points (value, share of samples above it): all of the tail, some of the body."""
    ordered, count = sorted(values), len(values)
    body = max(count - _TAIL_POINTS, 0)
    chosen = [*range(0, body, max(1, body // _TAIL_POINTS)), *range(body, count)]
    return [(ordered[index], 1 - index / count) for index in chosen]
