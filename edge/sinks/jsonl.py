"""`jsonl[:PATH]`: one line of JSON per frame, written to stdout if there is no path."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from edge.errors import UsageError
from edge.sinks.base import BaseSink, SinkOptions
from edge.util.append_file import LineFile
from edge.util.background import Background
from edge.util.files import refuse_existing

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.util.spec import Spec

_CAPACITY = 512
_CLOSE_S = 1.0
_DEFAULTS = SinkOptions()


class RegionLine(msgspec.Struct, frozen=True):
    """One region: box (x, y, width, height) and contour (x, y), in pixels of the frame."""

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


class FrameLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One frame.

    Attributes:
        frame: Number of the frame; dropped frames leave gaps.
        captured_ns: Capture time, CLOCK_MONOTONIC nanoseconds.
        stages_ms: Stage to duration, milliseconds; `output` ends when this line is built.
        age_ms: Time from the capture to this line, milliseconds.
        mask_area: Share of the model's input that the mask covers, 0 to 1; null if nobody judged
            the frame.
        regions: Regions, largest first; empty if none was found, null if nobody judged the frame.
        reason: Why nobody judged the frame; null if it was judged.
        clip_ms: Time of the frame in its clip, milliseconds; left out if the source is no clip.
    """

    frame: int
    captured_ns: int
    stages_ms: dict[str, float]
    age_ms: float
    mask_area: float | None
    regions: list[RegionLine] | None
    reason: str | None
    clip_ms: float | None = None


def frame_line(frame: Frame, result: Result) -> FrameLine:
    """Build the line of a frame."""
    end = max((end for _, end in frame.stamps.values()), default=frame.captured_ns)
    judged = result.reason is None
    return FrameLine(
        frame=frame.index,
        captured_ns=frame.captured_ns,
        stages_ms={str(stage): round((b - a) / 1e6, 4) for stage, (a, b) in frame.stamps.items()},
        age_ms=round((end - frame.captured_ns) / 1e6, 4),
        mask_area=round(float(result.mask_area), 6) if judged else None,
        regions=[
            RegionLine(region.box, region.contour, round(region.area, 6), round(region.score, 4))
            for region in result.regions
        ]
        if judged
        else None,
        reason=None if result.reason is None else str(result.reason),
        clip_ms=None if frame.clip_ns is None else round(frame.clip_ns / 1e6, 3),
    )


class JsonlSink(BaseSink):
    """Writes a `FrameLine` per frame.

    The file has its final name from the start and each line is written as a whole, so that other
    programs can follow it. Lines of a live source are written in a thread: if the disk is full or
    the reader of stdout is slow, the oldest waiting lines are dropped and counted.

    Args:
        path: File to write; None writes to stdout.
        options: Options that all sinks of the run share.

    Raises:
        UsageError: `path` exists and `force` is not set.
    """

    def __init__(self, path: Path | None, options: SinkOptions = _DEFAULTS) -> None:
        super().__init__()
        if path is not None:
            refuse_existing(path, force=options.force)
        elif sys.stdout is None:
            raise UsageError(
                "stdout is closed, and the lines of the frames would go there",
                expected="an open stdout, or jsonl:FILE",
            )
        self.path, self._live = path, options.live
        self._encoder = msgspec.json.Encoder()
        self._file: LineFile | None = None
        self._queue: Background[FrameLine] | None = None
        self._pending: tuple[FrameLine, bytes] | None = None

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `jsonl:PATH`; without a path or with `-` it writes to stdout."""
        spec.refuse_options()
        return cls(spec.path if spec.target not in ("", "-") else None, options)

    def __enter__(self) -> Self:
        if self.path is not None:
            self._file = LineFile(self.path)
            self._file.open(fresh=True)
        if self._live:
            self._queue = Background(
                self._put, capacity=_CAPACITY, when_full="oldest", name="jsonl"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self._queue is None or self._queue.close(_CLOSE_S)
        self._count()
        if self._file is not None and ended:
            self._file.close()
        self._file = self._queue = None

    def outputs(self) -> list[Path]:
        """The file of lines; none on stdout."""
        return [] if self.path is None else [self.path]

    def write(self, frame: Frame, result: Result) -> None:
        """Write the line of a frame.

        Raises:
            OSError: The line cannot be written; raised only if the source is not live.
        """
        line = frame_line(frame, result)
        if self._queue is None:
            self._put(line)
        else:
            self._queue.put(line)
            self._count()

    def _put(self, line: FrameLine) -> None:
        if self._pending is None or self._pending[0] is not line:
            self._pending = line, self._encoder.encode(line) + b"\n"
        if self._file is not None:
            self._file.append(self._pending[1])
        else:
            sys.stdout.buffer.write(self._pending[1])
            sys.stdout.buffer.flush()

    def _count(self) -> None:
        if self._queue is not None:
            self.counters["dropped"], self.counters["failed"] = (
                self._queue.dropped,
                self._queue.failed,
            )
