"""`jsonl[:PATH]`: one line of JSON per frame, written to stdout if there is no path.

A line `{"header": {...}}` says what the lines after it are of: it comes first, and again when
bundle or engine change. Every other line has a `frame`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from edge.errors import UsageError
from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations
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

    _Item = tuple[RecordHeader | None, "FrameLine"]

_CAPACITY = 512
_CLOSE_S = 1.0
_DEFAULTS = SinkOptions()


class RegionLine(msgspec.Struct, frozen=True):
    """One region: box (x, y, width, height) and contour (x, y), in pixels of the frame."""

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


class BoxLine(msgspec.Struct, frozen=True):
    """A box as (x, y, width, height) frame pixels, and its score, 0 to 1."""

    box: tuple[int, int, int, int]
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
        boxes: Box and score of each box of a detection head where there is no region; left out if
            there is none.
    """

    frame: int
    captured_ns: int
    stages_ms: dict[str, float]
    age_ms: float
    mask_area: float | None
    regions: list[RegionLine] | None
    reason: str | None
    clip_ms: float | None = None
    boxes: list[BoxLine] = []


class HeaderLine(msgspec.Struct, frozen=True):
    """What the lines after it are of."""

    header: RecordHeader


def read_frame_lines(path: Path) -> list[FrameLine]:
    """Read the lines of the frames from a file of this sink, without its headers."""
    return [
        msgspec.json.decode(line, type=FrameLine)
        for line in path.read_bytes().splitlines()
        if not line.startswith(b'{"header":')
    ]


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
        boxes=[BoxLine(region.box, round(region.score, 4)) for region in result.boxes],
    )


class JsonlSink(BaseSink):
    """Writes a `FrameLine` per frame, and a `HeaderLine` before the first one of each header.

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
        self._queue: Background[_Item] | None = None
        self._pending: tuple[_Item, bytes] | None = None
        self._written: RecordHeader | None = None

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
        line = self.header, frame_line(frame, result)
        if self._queue is None:
            self._put(line)
        else:
            self._queue.put(line)
            self._count()

    def _put(self, line: _Item) -> None:
        header, of_frame = line
        if self._pending is None or self._pending[0] is not line:
            text = self._encoder.encode(of_frame) + b"\n"
            if header is not None and header is not self._written:
                text = self._encoder.encode(HeaderLine(header)) + b"\n" + text
            self._pending = line, text
        if self._file is not None:
            self._file.append(self._pending[1])
        else:
            sys.stdout.buffer.write(self._pending[1])
            sys.stdout.buffer.flush()
        self._written = header

    def _count(self) -> None:
        if self._queue is not None:
            self.counters["dropped"], self.counters["failed"] = (
                self._queue.dropped,
                self._queue.failed,
            )
