"""Counters of the frame loop: plain numbers, cheap to update and to read from a thread."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING

from edge.status import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.record_header import RecordHeader

BUCKETS_MS = (
    1.0,
    2.0,
    4.0,
    8.0,
    12.0,
    16.0,
    24.0,
    33.0,
    50.0,
    66.0,
    86.0,
    100.0,
    120.0,
    160.0,
    250.0,
    500.0,
)
"""Upper limits of the histograms; 120 ms is the maximum age of a mask, 86 ms the 60 Hz budget."""

_MAX_REASONS = 64


class Histogram:
    """Histogram of durations with the limits `BUCKETS_MS`, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one duration, milliseconds."""
        self.counts[bisect_left(BUCKETS_MS, ms)] += 1
        self.sum_ms += ms


class Numbers:
    """Counters that only the frame loop writes; a reader may see one frame partly counted."""

    def __init__(self) -> None:
        self.frames = self.dropped = self.judged = self.with_mask = 0
        self.found: int | None = None
        """Regions on the newest frame; None if nobody judged it."""
        self.state: State | None = State.BOOT
        """None after the run has ended."""
        self.changes = 0
        self.withheld: defaultdict[str, int] = defaultdict(int)
        self.header: RecordHeader | None = None
        """What the numbers are of."""
        self.age = Histogram()
        self.stages: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.counters: Mapping[str, int] = {}
        self.gauges: Mapping[str, float] = {}

    def withhold(self, kind: str) -> None:
        """Count a frame that nobody judged; after 64 kinds, new reasons count as `other`."""
        is_listed = kind in self.withheld or len(self.withheld) < _MAX_REASONS
        self.withheld[kind if is_listed else "other"] += 1
