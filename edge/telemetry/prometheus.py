"""Writes counters in Prometheus' text format, for node exporter's textfile collector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from edge.status import State
from edge.telemetry.counters import BUCKETS_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.core import Metric

    from edge.record_header import RecordHeader
    from edge.telemetry.counters import Histogram, Numbers


def write(path: Path, numbers: Numbers) -> None:
    """Write a file atomically.

    Raises:
        OSError: The file cannot be written; the previous one is kept.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NumbersCollector(numbers))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


class NumbersCollector:
    """Converts counters to metric families of Prometheus; a collector of `prometheus_client`.

    Args:
        numbers: Counters, read whenever the registry collects.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        numbers = self._numbers
        for name, text, value in (
            ("frames", "Frames that reached the outputs", numbers.frames),
            ("frames_dropped", "Frames of the source that nobody took", numbers.dropped),
            ("frames_judged", "Frames that the student judged", numbers.judged),
            ("frames_with_mask", "Frames with at least one region", numbers.with_mask),
            ("state_changes", "Changes of state or kind of reason", numbers.changes),
        ):
            yield CounterMetricFamily(f"edge_difom_{name}", text, value=value)
        if numbers.header is not None:
            yield _info(numbers.header)
        state = GaugeMetricFamily(
            "edge_difom_state", "1 for the state that holds", labels=["state"]
        )
        for one in State:
            state.add_metric([one.value], float(one is numbers.state))
        yield state
        up = float(numbers.state is not None)
        yield GaugeMetricFamily("edge_difom_up", "1 until the run has ended", value=up)
        withheld = CounterMetricFamily(
            "edge_difom_masks_withheld",
            "Frames that nobody judged, by kind of reason",
            labels=["reason"],
        )
        for kind, count in list(numbers.withheld.items()):
            withheld.add_metric([kind], count)
        yield withheld
        region_count = math.nan if numbers.found is None else float(numbers.found)
        yield GaugeMetricFamily(
            "edge_difom_regions",
            "Regions on the newest frame; NaN if nobody judged it",
            value=region_count,
        )
        age = HistogramMetricFamily(
            "edge_difom_frame_age_seconds", "Age of a frame when it was done"
        )
        age.add_metric([], *_buckets(numbers.age))
        yield age
        stages = HistogramMetricFamily(
            "edge_difom_stage_seconds", "Time in a stage", labels=["stage"]
        )
        for name, histogram in list(numbers.stages.items()):
            stages.add_metric([name], *_buckets(histogram))
        yield stages
        events = CounterMetricFamily(
            "edge_difom_events",
            "What source, supervisor and outputs counted",
            labels=["origin", "event"],
        )
        for name, count in dict(numbers.counters).items():
            origin, _, event = name.rpartition(".")
            events.add_metric([origin, event], count)
        yield events
        gauges = GaugeMetricFamily("edge_difom_gauge", "What was measured last", labels=["name"])
        for name, measured in dict(numbers.gauges).items():
            gauges.add_metric([name], measured)
        yield gauges


def _info(header: RecordHeader) -> Metric:
    """What the numbers are of, as labels of a constant 1."""
    labels = {
        "bundle": header.bundle,
        "digest": header.digest,
        "engine": header.engine,
        "precision": header.precision,
        "source": header.data,
        "version": header.version,
        "commit": header.commit,
    }
    info = GaugeMetricFamily("edge_difom_info", "What the numbers are of", labels=list(labels))
    info.add_metric([value or "" for value in labels.values()], 1.0)
    return info


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts, running, buckets = list(histogram.counts), 0, []
    for limit, count in zip((*BUCKETS_MS, None), counts, strict=True):
        running += count
        buckets.append(("+Inf" if limit is None else str(limit / 1e3), float(running)))
    return buckets, histogram.sum_ms / 1e3
