"""`shm:NAME[?picture=1]`: mask and overlay layer for other programs, in shared memory.

`edge.shm.layout` defines the layout, and `edge_difom_shm.h` beside it does so for C. `NAME` is a
name in POSIX shared memory (`/dev/shm/NAME`), or a path if it contains a slash.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2

from edge.errors import MissingDependencyError
from edge.limits import MAX_MASK_AGE_MS
from edge.overlay.paint import without_frame
from edge.shm.layout import (
    HAS_FRAME,
    HAS_MASK,
    HAS_PICTURE,
    MAX_REASON,
    MAX_REGIONS,
    STATE_CODES,
    Plan,
    segment_path,
)
from edge.shm.writer import SegmentWriter, claim
from edge.sinks.base import BaseSink, SinkOptions
from edge.status import Reason, ReasonKind, State
from edge.util.spec import option, switch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.shm.writer import Slot
    from edge.status import Status
    from edge.util.spec import Spec

_BEFORE_FRAMES = (360, 640)
_RETRY_NS = 1_000_000_000
_MASK_ALLOWED = (State.RUNNING, State.DEGRADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShmOptions:
    """Options of `shm:`.

    Attributes:
        picture: Whether the frame's picture is published too.
    """

    picture: bool = option(switch, False)


class ShmSink(BaseSink):
    """Publishes each frame, and while none comes each change of the status and a heartbeat.

    If there is no memory for a larger frame, `failed` is counted, readers see the status alone, and
    the sink tries again after a second.

    Args:
        path: Path of the segment.
        options: Options that all sinks of the run share.
        picture: Whether the frame is published too, for a second monitor.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: The name belongs to a running writer or to a different file.
    """

    def __init__(
        self,
        path: Path,
        options: SinkOptions,
        *,
        picture: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__()
        claim(path, force=options.force)
        self.segment = path
        self._drawing, self._with_picture, self._clock = options.drawing, picture, clock
        self._live = options.live
        self._writer: SegmentWriter | None = None
        self._size = _BEFORE_FRAMES
        self._published_status: tuple[State, ReasonKind | None] | None = None
        self._mask_shown = False
        self._valid_until = 0
        self._retry_ns = 0

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `shm:NAME` with the options of `ShmOptions`.

        Raises:
            UsageError: There is no name, or an option is unknown or does not fit.
        """
        picture = spec.read(ShmOptions).picture
        return cls(segment_path(spec.target), options, picture=picture)

    def __enter__(self) -> Self:
        try:
            self.segment.parent.mkdir(parents=True, exist_ok=True)
            self._writer = SegmentWriter(
                self.segment, Plan(*self._size, 0, picture=False), self._clock
            )
        except OSError as error:
            raise MissingDependencyError(
                f"{self.segment} cannot be created",
                expected="space and permission for shared memory",
                got=str(error),
                hint="a larger /dev/shm (docker run --shm-size=256m), or a path: shm:/PATH",
            ) from error
        self._publish_status()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def write(self, frame: Frame, result: Result) -> None:
        """Publish a frame."""
        height, width = frame.image.shape[:2]
        limit = round(MAX_MASK_AGE_MS * 1e6)
        late_ns = self._clock() - frame.captured_ns - limit
        if self._live and late_ns >= 0 and result.reason is None:
            reason = Reason(ReasonKind.STALE, f"{MAX_MASK_AGE_MS + late_ns / 1e6:.0f} ms old")
            result = replace(result, regions=(), boxes=(), mask_area=0.0, reason=reason)
        drawable = result.reason is None
        scores = result.scores if drawable else None
        plan = Plan(
            height, width, 0 if result.scores is None else result.scores.size, self._with_picture
        )
        writer = self._room(plan)
        if writer is None:
            return
        self._size = height, width
        # Frames of a clip do not age while they are processed.
        fresh = self._live or late_ns < 0
        self._valid_until = (frame.captured_ns if fresh else self._clock()) + limit
        with writer.publication() as slot:
            self._head(slot, result, HAS_FRAME | (HAS_MASK if drawable else 0))
            slot.head["frame_index"], slot.head["captured_ns"] = frame.index, frame.captured_ns
            if scores is not None:
                slot.head["scores_height"], slot.head["scores_width"] = scores.shape
                slot.scores(*scores.shape)[:] = scores
            if self._with_picture:
                cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB, dst=slot.picture(height, width))
                slot.head["flags"] |= HAS_PICTURE
        self._mask_shown = drawable
        self._published_status = None

    def notify(self, status: Status) -> None:
        """Publish a heartbeat, and remove an overlay that may no longer be shown."""
        super().notify(status)
        if self._writer is None:
            return
        over = self._clock() >= self._valid_until
        forbidden = self._mask_shown and status.state not in _MASK_ALLOWED
        if (over or forbidden) and self._published_status != (status.state, status.kind):
            self._publish_status()
        else:
            self._writer.alive()

    def _publish_status(self) -> None:
        assert self._writer is not None
        self._valid_until = 0
        with self._writer.publication() as slot:
            self._head(slot, without_frame(self.status), 0)
            slot.head["frame_index"] = slot.head["captured_ns"] = 0
        self._mask_shown = False
        self._published_status = self.status.state, self.status.kind

    def _head(self, slot: Slot, result: Result, flags: int) -> None:
        """Fill in the header, the regions and the overlay."""
        head, (height, width) = slot.head, self._size
        regions = result.regions[:MAX_REGIONS] if flags & HAS_MASK else ()
        reason = self.status.text if result.reason is None else str(result.reason)
        head["state"], head["flags"] = STATE_CODES[self.status.state], flags
        head["since_ns"], head["valid_until_ns"] = self.status.since_ns, self._valid_until
        head["reason"] = reason.encode()[:MAX_REASON].decode(errors="ignore").encode()
        head["width"], head["height"] = width, height
        head["scores_width"] = head["scores_height"] = 0
        head["regions"], head["mask_area"] = len(regions), result.mask_area
        view = result.field_of_view or (0, 0, width, height)
        head["view_x"], head["view_y"], head["view_width"], head["view_height"] = view
        part = result.part or (0, 0, width, height)
        head["part_x"], head["part_y"], head["part_width"], head["part_height"] = part
        for number, region in enumerate(regions):
            slot.regions[number] = (*region.box, region.area, region.score)
        layer = self._drawing.layer(self._size, result, self.status)
        cv2.cvtColor(layer, cv2.COLOR_BGRA2RGBA, dst=slot.overlay(height, width))

    def _room(self, plan: Plan) -> SegmentWriter | None:
        """Return a segment that fits a frame, or None if there is no memory for it."""
        if self._writer is not None and self._writer.fits(plan):
            return self._writer
        now = self._clock()
        if now < self._retry_ns:
            return None
        try:
            larger = SegmentWriter(self.segment, plan, self._clock)
        except OSError:
            self.counters["failed"] += 1
            self._retry_ns = now + _RETRY_NS
            return None
        if self._writer is not None:
            self._writer.retire()
        self._writer = larger
        return larger
