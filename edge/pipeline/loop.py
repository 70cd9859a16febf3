"""The frame loop: newest frame first, one owner of the state, and no mask that is too old."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from edge.errors import Interruption
from edge.frame import Result, Stage
from edge.imaging.field_of_view import estimate
from edge.imaging.view import restrict
from edge.limits import MAX_MASK_AGE_MS
from edge.pipeline.analysis import analyze
from edge.pipeline.run_stats import RunStats, RunSummary
from edge.pipeline.state_machine import StateMachine
from edge.sources.latest_frame import NewestFrame
from edge.status import STARTING, Condition, Reason, ReasonKind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge.bundle.manifest import Manifest
    from edge.contracts import Engine, Sink, Source
    from edge.frame import Frame
    from edge.pipeline.frame_guard import FrameGuard
    from edge.pipeline.smoothing import Smoother
    from edge.status import Status

__all__ = ["FrameLoop", "Observer", "RunSummary"]

_log = logging.getLogger(__name__)
_NO_MASK = (State.BOOT, State.SELFTEST, State.NO_SIGNAL, State.PAUSED, State.BYPASS)

_ENDED = Condition(State.NO_SIGNAL, Reason(ReasonKind.CLOSED, "the source has ended"))

POLL_S = 0.05
"""Maximum wait for a frame before sinks and observers get the status again."""


class Observer(Protocol):
    """Follows the loop and may ask for a state; no method may block."""

    def conditions(self) -> Iterable[Condition]:
        """Return everything that is wrong at this moment, for `StateMachine.resolve`."""
        ...

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Called once per iteration; `frame` and `result` are None if no frame was available."""
        ...


@dataclass(kw_only=True)
class FrameLoop:
    """The frame loop of a device; `run` runs it once.

    Attributes:
        source: Source of the frames.
        engine: The model's engine; the caller closes it.
        manifest: Returns the manifest of the bundle in use, None before the first. It is called for
            each frame, because a bundle in another slot may have another threshold.
        sinks: Outputs; each frame goes to them in this order.
        guard: Decides whether the model may see a frame; None lets every frame pass.
        smoother: Temporal smoothing of the regions; None shows each frame's regions at once.
        observers: Supervisor, temperature, cart, watchdog and records.
        keep_every: Process every n-th frame; evaluated per frame, 1 processes all.
        max_age_ms: Age from which a live frame gets the reason `stale` instead of a mask.
        clock: CLOCK_MONOTONIC in nanoseconds, the clock of the source.
        stop: Ends the run when set.
        on_frame: Called after each frame, for progress displays.
        linger: Whether the sinks stay open after the end of the source until `stop` is set, so that
            a viewer can still look at them.
    """

    source: Source
    engine: Engine
    manifest: Callable[[], Manifest | None]
    sinks: Sequence[Sink]
    guard: FrameGuard | None = None
    smoother: Smoother | None = None
    observers: Sequence[Observer] = ()
    keep_every: Callable[[], int] = lambda: 1
    max_age_ms: float = MAX_MASK_AGE_MS
    clock: Callable[[], int] = time.monotonic_ns
    stop: threading.Event = field(default_factory=threading.Event)
    on_frame: Callable[[Frame, Result], None] | None = None
    linger: bool = False
    _machine: StateMachine = field(init=False)
    _own: list[Condition] = field(init=False)

    def run(self, *, frames: int | None = None, seconds: float | None = None) -> RunSummary:
        """Run until the source ends, `stop` is set or a limit is reached.

        A live source is read in its own thread; a frame that the engine cannot process in time is
        overwritten by the next one. Any other source is processed completely. The source and the
        sinks are entered here and closed in every case.

        Args:
            frames: Maximum number of frames; None for no limit.
            seconds: Maximum time since the start, measured on `clock`; None for no limit.

        Raises:
            SourceError: The source failed for good; everything written so far is complete.
        """
        self._machine, self._own = StateMachine(self.clock), []
        stats, count = RunStats(), 0
        with ExitStack() as stack:
            stack.enter_context(self.source)
            for sink in self.sinks:
                stack.enter_context(sink)
            newest = (
                stack.enter_context(NewestFrame(self.source.read)) if self.source.live else None
            )
            deadline = None if seconds is None else self.clock() + round(seconds * 1e9)
            while frames is None or stats.frames < frames:
                if self.stop.is_set():
                    return stats.summary("stopped")
                if deadline is not None and self.clock() >= deadline:
                    return stats.summary("seconds")
                try:
                    frame = newest.next_frame(POLL_S) if newest else self.source.read()
                except TimeoutError:
                    self._idle()
                    continue
                except Interruption as interruption:
                    self._own = [Condition(interruption.state, interruption.reason)]
                    self._idle()
                    continue
                if frame is None:
                    self._linger()
                    return stats.summary("source")
                count += 1
                if count % self.keep_every():
                    continue
                result = self._process(frame)
                stats.add(frame, result)
                if self.on_frame is not None:
                    self.on_frame(frame, result)
        return stats.summary("frames")

    def _linger(self) -> None:
        """After the end of the source, report the status until the run is stopped."""
        if not self.linger:
            return
        _log.info("the source has ended; the outputs stay open until the run is stopped")
        self._own = [_ENDED]
        while not self.stop.wait(POLL_S):
            self._idle()

    def _idle(self) -> None:
        """Report the status to sinks and observers while there is no frame."""
        status = self._update_status()
        for sink in self.sinks:
            sink.notify(status)
        for observer in self.observers:
            observer.progress(status, None, None)

    def _process(self, frame: Frame) -> Result:
        """Run one frame through all stages and report the result to sinks and observers."""
        frame.stamps[Stage.CAPTURE] = (frame.captured_ns, self.clock())
        result, self._own = self._analyze(frame)
        status = self._update_status()
        if result.reason is None and (status.state in _NO_MASK or result.scores is None):
            result = replace(
                result, regions=(), boxes=(), mask_area=0.0, reason=status.reason or STARTING
            )
        begin = max(end for _, end in frame.stamps.values())
        for sink in self.sinks:
            # A sink that records the stages sees the output time of the sinks before it.
            frame.stamps[Stage.OUTPUT] = (begin, self.clock())
            sink.notify(status)
            sink.write(frame, result)
        frame.stamps[Stage.OUTPUT] = (begin, self.clock())
        for observer in self.observers:
            observer.progress(status, frame, result)
        return result

    def _analyze(self, frame: Frame) -> tuple[Result, list[Condition]]:
        """Analyze a frame: its result, and the conditions that it causes."""
        judgment = None
        if self.guard is not None:
            judgment = self.guard.judge(frame)
            frame.stamps[Stage.GUARD] = (frame.stamps[Stage.CAPTURE][1], self.clock())
            if judgment.reason is not None:
                unfit = Result(None, (), 0.0, judgment.reason, judgment.field_of_view)
                return unfit, [Condition(State.PAUSED, judgment.reason)]
        manifest = self.manifest()
        if manifest is None:  # the supervisor's observer asks for the state
            return Result(None, (), 0.0, None), []
        limit = self.max_age_ms if self.source.live else None
        view = None if judgment is None else judgment.view
        if view is None and manifest.input.field_of_view == "view":
            view = estimate(frame.image)  # single images have no guard
        result = analyze(
            frame, self.engine, manifest, view=view, clock=self.clock, max_age_ms=limit
        )
        if judgment is not None:
            result = restrict(result, judgment.view)
        if self.smoother is not None:
            result = self.smoother.apply(frame, result)
        if result.reason is None:
            return result, []
        return result, [Condition(State.DEGRADED, result.reason)]

    def _update_status(self) -> Status:
        """The status that follows from the last frame, the source and the observers."""
        conditions = [
            condition for observer in self.observers for condition in observer.conditions()
        ]
        return self._machine.resolve([*self._own, *conditions])
