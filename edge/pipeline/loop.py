"""From frames to results: newest frame first, every stage stamped on the frame, and no mask that is too old."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from edge.pipeline.tally import RunSummary, Tally
from edge.postprocess import mask_area, regions
from edge.preprocess import to_input
from edge.sources.newest import NewestFrame
from edge.types import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.manifest import Manifest
    from edge.types import Engine, Frame, ImageU8, Region, Sink, Source

__all__ = ["MAX_AGE_MS", "STAGES", "RunSummary", "analyse", "run_pipeline"]

STAGES = ("capture", "preprocess", "infer", "postprocess", "output")
"""Stages of a frame; each begins where the one before it ends. `capture` is the wait since the capture stamp."""

MAX_AGE_MS = 120.0
"""Oldest frame of a live source whose mask may be drawn (annotation delay that was accepted in DEN200055)."""

MAX_MASK_AREA = 0.9
"""Largest believable share of a frame under the mask."""

_POLL_S = 0.05


def run_pipeline(
    source: Source,
    engine: Engine,
    sinks: Sequence[Sink],
    manifest: Manifest,
    *,
    frames: int | None = None,
    seconds: float | None = None,
    max_age_ms: float = MAX_AGE_MS,
    clock: Callable[[], int] = time.monotonic_ns,
    stop: threading.Event | None = None,
    on_frame: Callable[[Frame, Result], None] | None = None,
) -> RunSummary:
    """Run a source through an engine into sinks, all of which are entered here and closed whatever happens.

    A live source is read in a thread of its own, and a frame that the engine cannot take in time is
    overwritten by the next; of any other source every frame is taken.

    Args:
        source: Where frames come from.
        engine: The student; the caller closes it.
        sinks: Where results go; each takes a frame in this order.
        manifest: Threshold and least region.
        frames: Most frames.
        seconds: Longest time since the start, on `clock`.
        max_age_ms: Age from which a live frame gets the reason `stale` instead of a mask.
        clock: CLOCK_MONOTONIC in nanoseconds, the clock of the source.
        stop: Ends the run when set.
        on_frame: Called after each frame, for progress.

    Raises:
        SourceError: The source failed; what was written until then is kept, and whole.
    """
    stop = stop or threading.Event()
    tally = Tally()
    with ExitStack() as stack:
        stack.enter_context(source)
        for sink in sinks:
            stack.enter_context(sink)
        newest = stack.enter_context(NewestFrame(source.read)) if source.live else None
        deadline = None if seconds is None else clock() + round(seconds * 1e9)
        ended = "frames"
        while frames is None or tally.frames < frames:
            if stop.is_set() or (deadline is not None and clock() >= deadline):
                ended = "stopped" if stop.is_set() else "seconds"
                break
            try:
                frame = newest.take(_POLL_S) if newest else source.read()
            except TimeoutError:
                continue
            if frame is None:
                ended = "source"
                break
            frame.stamps["capture"] = (frame.captured_ns, clock())
            result = analyse(
                frame, engine, manifest, clock=clock, max_age_ms=max_age_ms if source.live else None
            )
            begin = frame.stamps["postprocess"][1]
            for sink in sinks:
                # A sink that records the stages sees the output of those before it.
                frame.stamps["output"] = (begin, clock())
                sink.write(frame, result)
            frame.stamps["output"] = (begin, clock())
            tally.add(frame, result)
            if on_frame is not None:
                on_frame(frame, result)
    return tally.summary(ended)


def analyse(
    frame: Frame,
    engine: Engine,
    manifest: Manifest,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    max_age_ms: float | None = None,
) -> Result:
    """What the student finds on a frame; stamps the stages on it.

    Args:
        frame: A frame of any size.
        engine: The student.
        manifest: Threshold and least region.
        clock: The clock of the frame's stamps.
        max_age_ms: Age from which the result is `stale`; None for frames that do not age.

    Returns:
        Regions, or none and the reason.
    """
    begin = frame.stamps["capture"][1] if "capture" in frame.stamps else clock()
    picture = to_input(frame.image, engine.input_size, bgr=True)
    ready = clock()
    scores = engine.infer(picture)
    scored = clock()
    reason = _damage(scores, (manifest.output.height, manifest.output.width))
    found: tuple[Region, ...] = ()
    if reason is None:
        found = regions(
            scores,
            (frame.image.shape[0], frame.image.shape[1]),
            threshold=manifest.output.threshold,
            min_region=manifest.output.min_region,
        )
    area = mask_area(found)
    if area > MAX_MASK_AREA:
        reason = f"implausible: the mask covers {100 * area:.0f} % of the frame"
    done = clock()
    frame.stamps |= {"preprocess": (begin, ready), "infer": (ready, scored), "postprocess": (scored, done)}
    age_ms = (done - frame.captured_ns) / 1e6
    if max_age_ms is not None and age_ms > max_age_ms:
        reason = f"stale: {age_ms:.0f} ms old"
    if reason is not None:
        found, area = (), 0.0
    return Result(scores=scores, regions=found, mask_area=area, reason=reason)


def _damage(scores: ImageU8, shape: tuple[int, int]) -> str | None:
    """Why an engine's output cannot be a score map."""
    if scores.shape == shape and scores.dtype == np.uint8:
        return None
    return f"implausible: the engine gave {scores.shape} {scores.dtype}, not {shape} uint8"
