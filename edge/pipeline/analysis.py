"""Analyze one frame: preprocess, infer and postprocess, each stage stamped on the frame."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.errors import InferenceFault
from edge.frame import Result, Stage
from edge.imaging.box_maps import box_regions, mask_plane
from edge.imaging.crop import cut, part_of
from edge.imaging.postprocess import mask_area, regions
from edge.imaging.preprocess import to_input
from edge.inference.score_check import damage
from edge.pipeline.smoothing import overlap
from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.bundle.manifest import Manifest
    from edge.contracts import Engine
    from edge.frame import Frame, ImageU8, Region
    from edge.imaging.view import View

MAX_MASK_AREA = 0.9
"""Maximum plausible mask area, as a share of the analyzed area."""


def analyze(
    frame: Frame,
    engine: Engine,
    manifest: Manifest,
    *,
    view: View | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
    max_age_ms: float | None = None,
) -> Result:
    """Run the student on a frame, and stamp the stages on the frame.

    Args:
        frame: A frame of any size.
        engine: The student.
        manifest: The manifest, with field-of-view rule and operating point.
        view: The frame's field of view; None if it was not estimated, so that the whole frame is
            analyzed.
        clock: The clock of the frame's stamps.
        max_age_ms: Age from which the result is `stale`; None for frames that do not age.

    Returns:
        Regions, or no regions and the reason. The reason has the kind of an `InferenceFault`,
        `damaged`, `implausible` or `stale`.
    """
    begin = max((end for _, end in frame.stamps.values()), default=0) or clock()
    # Read the buffer once: a restart may replace it at any moment.
    shared = engine.input_buffer
    size = engine.input_size if shared is None else (shared.shape[0], shared.shape[1])
    part = part_of(manifest.input.field_of_view, view)
    picture = to_input(cut(frame.image, part), size, bgr=True, out=shared)
    ready = clock()
    scores: ImageU8 | None
    try:
        scores = engine.infer(picture)
        problem = damage(scores, manifest.output.map_size)
        reason = None if problem is None else Reason(ReasonKind.DAMAGED, problem)
    except InferenceFault as fault:
        scores, reason = None, fault.reason
    scored = clock()
    found_regions: tuple[Region, ...] = ()
    boxes: tuple[Region, ...] = ()
    if scores is not None and reason is None:
        all_scores, scores = scores, mask_plane(scores, manifest.output.planes)
        height, width = frame.image.shape[:2]
        found_regions = regions(scores, (height, width), manifest.output.point, part=part)
        if manifest.output.boxes:
            boxes = apart(box_regions(all_scores, part or (0, 0, width, height)), found_regions)
    area = mask_area(found_regions)
    if area > MAX_MASK_AREA:
        reason = Reason(
            ReasonKind.IMPLAUSIBLE, f"the mask covers {100 * area:.0f} % of the picture"
        )
    done = clock()
    frame.stamps |= {
        Stage.PREPROCESS: (begin, ready),
        Stage.INFER: (ready, scored),
        Stage.POSTPROCESS: (scored, done),
    }
    result = Result(scores, found_regions, area, reason, part=part, boxes=boxes)
    return refuse_stale(frame, result, done, max_age_ms)


def apart(boxes: tuple[Region, ...], found_regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """Return the boxes that share no pixel with the box of a region."""
    return tuple(
        box for box in boxes if all(overlap(box.box, region.box) == 0 for region in found_regions)
    )


def refuse_stale(frame: Frame, result: Result, now: int, max_age_ms: float | None) -> Result:
    """Remove the mask from a result that has a reason or whose frame exceeds `max_age_ms`."""
    age_ms = (now - frame.captured_ns) / 1e6
    reason = result.reason
    if reason is None and max_age_ms is not None and age_ms > max_age_ms:
        reason = Reason(ReasonKind.STALE, f"{age_ms:.0f} ms old")
    if reason is None:
        return result
    return replace(result, regions=(), boxes=(), mask_area=0.0, reason=reason)
