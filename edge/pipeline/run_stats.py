"""Statistics of a run, counted while it runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from edge.frame import Frame, Result

_MAX_VALUES = 20_000


class Quantiles(msgspec.Struct, frozen=True):
    """Plain quantiles in milliseconds; `edge.bench.measure.percentiles` has confident ones."""

    p50: float
    p90: float
    p99: float


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of a run.

    Attributes:
        frames: Frames that reached the sinks.
        dropped: Frames of the source between the first and the last that were not processed.
        seconds: Time from the first capture to the end of the last output.
        fps: Frames per second over this time.
        judged: Frames that the student judged, with a mask or because nothing was found. On all
            others nobody looked, and `reasons` says why.
        frames_with_mask: Frames with at least one region.
        reasons: Kind of reason -> frames without a mask for this reason.
        stages_ms: Stage -> quantiles over the newest 20,000 frames.
        age_ms: Age of a frame when its output was done; None without frames.
        max_age_ms: Maximum age; None without frames.
        ended: `source`, `frames`, `seconds` or `stopped`.
        header: What the run is of; None if nobody told.
    """

    frames: int
    dropped: int
    seconds: float
    fps: float
    judged: int
    frames_with_mask: int
    reasons: dict[str, int]
    stages_ms: dict[str, Quantiles]
    age_ms: Quantiles | None
    max_age_ms: float | None
    ended: str
    header: RecordHeader | None = None


class _Newest:
    """The newest 20,000 values, in memory that is allocated at once."""

    def __init__(self) -> None:
        self._values = np.full(_MAX_VALUES, math.nan)
        self._count = 0

    def add(self, value: float) -> None:
        """Add a value, which replaces the oldest one."""
        self._values[self._count % _MAX_VALUES] = value
        self._count += 1

    def quantiles(self) -> Quantiles:
        """Return the quantiles of all values; there must be at least one."""
        p50, p90, p99 = np.quantile(self._values[: self._count], [0.5, 0.9, 0.99]).tolist()
        return Quantiles(p50, p90, p99)


class RunStats:
    """Counts frames; its memory does not grow with the length of the run."""

    def __init__(self) -> None:
        self.frames = 0
        self._dropped = 0
        self._judged = self._with_mask = 0
        self._last_index = -1
        self._begin_ns = self._end_ns = 0
        self._oldest_ms: float | None = None
        self._reasons: Counter[str] = Counter()
        self._stages: defaultdict[str, _Newest] = defaultdict(_Newest)
        self._ages = _Newest()

    def add(self, frame: Frame, result: Result) -> None:
        """Count a frame whose stages are all stamped."""
        if self.frames == 0:
            self._begin_ns = frame.captured_ns
        else:
            self._dropped += frame.index - self._last_index - 1
        self.frames += 1
        self._last_index = frame.index
        self._judged += result.reason is None
        self._with_mask += bool(result.regions)
        if result.reason is not None:
            self._reasons[str(result.reason.kind)] += 1
        for stage, (begin, end) in frame.stamps.items():
            self._stages[str(stage)].add((end - begin) / 1e6)
            self._end_ns = end
        age = (self._end_ns - frame.captured_ns) / 1e6
        self._ages.add(age)
        self._oldest_ms = age if self._oldest_ms is None else max(age, self._oldest_ms)

    def summary(self, ended: str) -> RunSummary:
        """Return the summary of the run.

        Args:
            ended: Why the run ended, as in `RunSummary`.
        """
        seconds = (self._end_ns - self._begin_ns) / 1e9
        return RunSummary(
            frames=self.frames,
            dropped=self._dropped,
            seconds=seconds,
            fps=self.frames / seconds if seconds > 0 else 0.0,
            judged=self._judged,
            frames_with_mask=self._with_mask,
            reasons=dict(self._reasons),
            stages_ms={name: values.quantiles() for name, values in self._stages.items()},
            age_ms=self._ages.quantiles() if self.frames else None,
            max_age_ms=self._oldest_ms,
            ended=ended,
        )
