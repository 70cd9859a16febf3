"""`jsonl[:PATH]`: one line of JSON per frame, on stdout without a path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from edge.files import refuse_existing
from edge.sinks.base import BaseSink

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.types import Frame, Result


class RegionLine(msgspec.Struct, frozen=True):
    """One region: box as x, y, width, height and outline as x, y, in pixels of the frame."""

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


class FrameLine(msgspec.Struct, frozen=True):
    """One frame.

    Attributes:
        frame: Number, with gaps where frames were dropped.
        captured_ns: CLOCK_MONOTONIC of the capture.
        stages_ms: Stage -> milliseconds; `output` ends where this line is made.
        age_ms: From the capture to this line.
        mask_area: Share of the frame under the mask.
        regions: What was found, largest first.
        reason: Why there is no mask; null where there may be one.
    """

    frame: int
    captured_ns: int
    stages_ms: dict[str, float]
    age_ms: float
    mask_area: float
    regions: list[RegionLine]
    reason: str | None


def frame_line(frame: Frame, result: Result) -> FrameLine:
    """The line of a frame."""
    end = max((end for _, end in frame.stamps.values()), default=frame.captured_ns)
    return FrameLine(
        frame=frame.index,
        captured_ns=frame.captured_ns,
        stages_ms={name: round((b - a) / 1e6, 4) for name, (a, b) in frame.stamps.items()},
        age_ms=round((end - frame.captured_ns) / 1e6, 4),
        mask_area=round(float(result.mask_area), 6),
        regions=[
            RegionLine(region.box, region.contour, round(region.area, 6), round(region.score, 4))
            for region in result.regions
        ],
        reason=result.reason,
    )


class JsonlSink(BaseSink):
    """Lines of `FrameLine`.

    The file has its final name from the start and each line is written whole at once, so that another
    program can follow it.

    Args:
        path: Where to; None is stdout.
        force: Replace a file that exists.

    Raises:
        UsageError: `path` exists and `force` is not set.
    """

    def __init__(self, path: Path | None, *, force: bool = False) -> None:
        if path is not None:
            refuse_existing(path, force=force)
        self.path = path
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryIO | None = None

    @classmethod
    def from_text(cls, target: str, *, fps: float | None, force: bool) -> Self:  # noqa: ARG003 - shared form
        """The sink of a path; nothing or `-` is stdout."""
        return cls(Path(target) if target not in ("", "-") else None, force=force)

    def __enter__(self) -> Self:
        if self.path is None:
            self._file = sys.stdout.buffer
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = cast("BinaryIO", self.path.open("wb", buffering=0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self.path is not None:
            self._file.close()
        self._file = None

    def write(self, frame: Frame, result: Result) -> None:
        """Write the line of a frame."""
        assert self._file is not None, "the sink is written outside its `with` block"
        self._file.write(self._encoder.encode(frame_line(frame, result)) + b"\n")
        self._file.flush()
