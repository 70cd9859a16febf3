"""Temporal smoothing: confirm a detection before it is displayed; no mask outlives its frame.

A region is first shown on the frame at which it was seen on `seen` of the last `of` frames and for
at least `least_ms`. Regions are linked from frame to frame by the overlap of their boxes. A shown
region stays visible on every frame on which it is found, even after up to `gap` frames without it.
Only regions found on the current frame are drawn: no mask is held, so none can be stale, and
smoothing of the score map only lowers scores.

The default, 4 of 6 and 130 ms, delays the first outline of a polyp by 133 ms at 30 and at 60 frames
per second, and does not increase the age of a mask. `python -m benchmarks.studies.smoothing`
compares settings. With a simulated detector whose false positives last as long as those of the GI
Genius study (88 % at most 6 frames), on the phantom, 1.5 of 9.1 false positives per minute remained
at 30 frames per second and 3.3 of 14.3 at 60, and no polyp was lost. Smoothed score maps suppress
about as many for the same delay and lose more frames of the polyps, so the default `weight` does
not smooth them. If frames are far apart, as in a data set with most frames left out, links break
and polyps are lost.

On .23 judged minutes of real clips (`benchmarks/results/edge-s-smoothing.json`,
`edge-xs-smoothing.json`) the default leaves no false frame on 111 clean frames of sequences that
the shipped students had not learned from, of 3 and 5 without smoothing, and delays the first
outline by .16 and .07 s in the median. With `gap=0` polyps are shown on 7 to 9 hundredths fewer of
their frames. So few minutes confirm the default and could not choose a better one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edge.errors import UsageError
from edge.imaging.postprocess import mask_area, regions
from edge.pipeline.frame_time import moment_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.bundle.manifest import Output
    from edge.frame import Box, Frame, ImageU8, Region, Result

FULL_WEIGHT = 256
"""Weight at which a new score map stays unchanged."""

LINK = 0.2
"""Minimum overlap at which two boxes are the same moving region, as a share of the smaller box."""

FORGET_MS = 500.0
"""Time without an analyzed frame after which all tracks are dropped: the camera has moved on."""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Settings of the smoothing; `Smoothing(seen=1, of=1, least_ms=0)` shows everything at once.

    Attributes:
        seen: Number of frames on which a region must have been seen before it is shown.
        of: Number of last frames in which they are counted.
        least_ms: Minimum time between the first detection of a region and the first frame on which
            it is shown.
        gap: Maximum number of frames without a shown region after which it reappears at once.
        weight: Weight of a new score map relative to earlier ones, in 1/256; 256 does not smooth
            score maps.
        reach: Maximum movement from frame to frame in cells of the score map, for `weight` below
            256.
    """

    seen: int = 4
    of: int = 6
    least_ms: float = 130.0
    gap: int = 10
    weight: int = FULL_WEIGHT
    reach: int = 2

    def __post_init__(self) -> None:
        if not (
            1 <= self.seen <= self.of <= 64
            and min(self.gap, self.least_ms) >= 0
            and 0 <= self.reach <= 32
        ):
            raise UsageError(
                "the smoothing is not usable",
                expected="1 <= seen <= of <= 64, gap and least_ms >= 0, reach of 0 to 32 cells",
                got=f"{self}",
            )
        if not 1 <= self.weight <= FULL_WEIGHT:
            raise UsageError(
                "the weight is not usable", expected=f"1 to {FULL_WEIGHT}", got=f"{self.weight}"
            )

    def delay_ms(self, fps: float) -> float:
        """Return the delay of the first outline in ms, for a polyp found on every frame."""
        return 1000 / fps * max(self.seen - 1, math.ceil(self.least_ms * fps / 1000))


@dataclass(slots=True)
class _Track:
    """A region tracked over frames: its last box, one bit per recent frame, and its misses."""

    boxes: list[Box]
    begun_ns: int
    history: int = 0
    missed: int = 0
    shown: bool = False

    def rank(self, box: Box) -> tuple[bool, bool, int, float]:
        """Rank how well a box fits the track; the first element is whether it fits at all."""
        shared = max(overlap(box, one) for one in self.boxes)
        return shared >= LINK, self.shown, self.history.bit_count(), shared


class Smoother:
    """Removes regions that were seen too briefly; for one source, frame after frame.

    Args:
        settings: Settings of the smoothing.
        output: Returns threshold and minimum region of the bundle in use, called for each frame;
            only needed for a `weight` below 256.
        fps: None for a live source; for a clip its frame rate, which determines the time stamps of
            its frames (`edge.pipeline.frame_time`).
    """

    def __init__(
        self,
        settings: Smoothing | None = None,
        output: Callable[[], Output] | None = None,
        *,
        fps: float | None = None,
    ) -> None:
        self._fps = fps
        self.settings = settings or Smoothing()
        if self.settings.weight < FULL_WEIGHT and output is None:
            raise UsageError(
                "smoothing of score maps needs the output of the manifest",
                expected="threshold, minimum region",
            )
        self._output = output
        self._tracks: list[_Track] = []
        self._box_tracks: list[_Track] = []
        self._mean: ImageU8 | None = None
        self._part: Box | None = None
        self._looked_ns: int | None = None

    def apply(self, frame: Frame, result: Result) -> Result:
        """Return the result with only the regions and boxes that may be shown.

        Args:
            frame: The frame; its capture stamp reveals a long pause.
            result: The result for it; a result with a reason is returned unchanged.
        """
        if result.reason is not None:
            return result
        now = moment_ns(frame, self._fps)
        if self._looked_ns is not None and now - self._looked_ns > FORGET_MS * 1e6:
            self._tracks, self._box_tracks, self._mean = [], [], None
        if result.part != self._part:
            # The cells of earlier score maps cover a different part of the frame.
            self._part, self._mean = result.part, None
        self._looked_ns = now
        candidates = result.regions
        if (
            self.settings.weight < FULL_WEIGHT
            and self._output is not None
            and result.scores is not None
        ):
            output, size = self._output(), (frame.image.shape[0], frame.image.shape[1])
            lowered = self._lower(result.scores)
            lowered_regions = regions(lowered, size, output.point, part=result.part)
            # Keep to the caller's regions: it may have removed those outside the view.
            candidates = tuple(
                region
                for region in lowered_regions
                if any(overlap(region.box, one.box) for one in candidates)
            )
        confirmed, self._tracks = self._follow(candidates, now, self._tracks)
        boxes, self._box_tracks = self._follow(result.boxes, now, self._box_tracks)
        return replace(result, regions=confirmed, boxes=boxes, mask_area=mask_area(confirmed))

    def _lower(self, scores: ImageU8) -> ImageU8:
        """Lower the scores where earlier frames had no scores nearby.

        The earlier mean is first moved as close to the new score as its values within `reach`
        allow, so that moving regions are not smeared.
        """
        mean, weight = self._mean, self.settings.weight / FULL_WEIGHT
        if mean is None or mean.shape != scores.shape:
            mean = scores
        cell = np.ones((2 * self.settings.reach + 1,) * 2, np.uint8)
        near = cv2.min(cv2.max(scores, cv2.erode(mean, cell)), cv2.dilate(mean, cell))
        self._mean = cast("ImageU8", cv2.addWeighted(scores, weight, near, 1 - weight, 0))
        return cast("ImageU8", cv2.min(scores, self._mean))

    def _follow(
        self, candidates: Sequence[Region], now: int, tracks: list[_Track]
    ) -> tuple[tuple[Region, ...], list[_Track]]:
        """Link regions to tracks; return those that may be shown, in order, and all tracks."""
        owners: list[_Track] = []
        for region in candidates:
            ranked = [(track.rank(region.box), track) for track in tracks]
            rank, best = max(ranked, key=lambda pair: pair[0], default=((False,), None))
            owners.append(best if best is not None and rank[0] else _Track([region.box], now))
        track_ids = {id(track) for track in tracks}
        tracks = tracks + [track for track in owners if id(track) not in track_ids]
        settings, window = self.settings, (1 << self.settings.of) - 1
        for track in tracks:
            here = [
                region.box
                for region, owner in zip(candidates, owners, strict=True)
                if owner is track
            ]
            track.boxes = here or track.boxes
            track.missed = 0 if here else track.missed + 1
            track.history = (track.history << 1 | bool(here)) & window
            if (
                track.history.bit_count() >= settings.seen
                and now - track.begun_ns >= settings.least_ms * 1e6
            ):
                track.shown = True
        confirmed = tuple(
            region for region, owner in zip(candidates, owners, strict=True) if owner.shown
        )
        return confirmed, [
            track
            for track in tracks
            if (track.missed <= settings.gap if track.shown else track.history)
        ]


def overlap(one: Box, other: Box) -> float:
    """Return the overlap of two boxes as a share of the smaller one, 0 to 1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min(one[2] * one[3], other[2] * other[3])
