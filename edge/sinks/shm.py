"""`shm:NAME[?picture=1]`: mask and overlay layer for another program, in shared memory.

The layout is in `shm_layout.py`, and for C in `edge_difom_shm.h`, which lies beside this module. `NAME` is one of POSIX
shared memory (`/dev/shm/NAME`); with a slash it is a path.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2

from edge.errors import MissingDependencyError, UsageError
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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.shm.writer import Slot
    from edge.status import Status

_BEFORE_FRAMES = (360, 640)
_RETRY_NS = 1_000_000_000
_MASK_ALLOWED = (State.RUNNING, State.DEGRADED)


class ShmSink(BaseSink):
    """Publishes each frame, and without one each change of the status and a sign of life.

    Where there is no memory for a larger frame, `failed` is counted, readers see the status alone, and it is tried
    again after a second.

    Args:
        path: Name of the segment.
        options: What the run's sinks are opened with.
        picture: Publish the frame's picture too, for a second monitor.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: Another writer or another file has the name.
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
        self._shown: tuple[State, ReasonKind | None] | None = None
        self._mask_shown = False
        self._valid_until = 0
        self._retry_ns = 0

    @classmethod
    def from_text(cls, target: str, options: SinkOptions) -> Self:
        """The sink of `NAME[?picture=1]`.

        Raises:
            UsageError: No name, or another option.
        """
        name, _, option = target.partition("?")
        if option not in ("", "picture=0", "picture=1"):
            raise UsageError(f"unknown option {option!r} of shm:", expected="shm:NAME[?picture=1]")
        return cls(segment_path(name), options, picture=option == "picture=1")

    def __enter__(self) -> Self:
        try:
            self.segment.parent.mkdir(parents=True, exist_ok=True)
            self._writer = SegmentWriter(self.segment, Plan(*self._size, 0, picture=False), self._clock)
        except OSError as error:
            raise MissingDependencyError(
                f"{self.segment} cannot be made",
                expected="room and rights for shared memory",
                got=str(error),
                hint="a larger /dev/shm (docker run --shm-size=256m), or --sink shm:/PATH",
            ) from error
        self._tell_now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
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
            result = replace(result, regions=(), mask_area=0.0, reason=reason)
        drawable = result.reason is None
        scores = result.scores if drawable else None
        plan = Plan(height, width, 0 if result.scores is None else result.scores.size, self._with_picture)
        writer = self._room(plan)
        if writer is None:
            return
        self._size = height, width
        # A clip's frames do not age on their way.
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
        self._shown = None

    def tell(self, status: Status) -> None:
        """Give a sign of life, and take from view what may no longer be shown."""
        super().tell(status)
        if self._writer is None:
            return
        over = self._clock() >= self._valid_until
        forbidden = self._mask_shown and status.state not in _MASK_ALLOWED
        if (over or forbidden) and self._shown != (status.state, status.kind):
            self._tell_now()
        else:
            self._writer.alive()

    def _tell_now(self) -> None:
        assert self._writer is not None
        self._valid_until = 0
        with self._writer.publication() as slot:
            self._head(slot, without_frame(self.status), 0)
            slot.head["frame_index"] = slot.head["captured_ns"] = 0
        self._mask_shown = False
        self._shown = self.status.state, self.status.kind

    def _head(self, slot: Slot, result: Result, flags: int) -> None:
        """Everything but what only a frame has: head, regions and overlay."""
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
        """A segment into which a frame fits; None where there is no room for one."""
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
