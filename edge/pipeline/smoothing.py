"""Temporal smoothing: confirm a detection before it is displayed; no mask outlives its frame.

A region is shown from the frame on which it has been seen on `seen` of the last `of` frames and for
`least_ms`, linked from frame to frame by the overlap of boxes. Once shown it is shown on every
frame on which it is found, also after up to `gap` frames without it. Nothing is ever drawn that was
not found on the very frame: there is no held mask, so none can be stale, and smoothing of the score
map only lowers scores.

The default, 4 of 6 and 130 ms, delays the first outline of a polyp by 133 ms at 30 and at 60 frames
a second, and adds nothing to the age of a mask. `python -m benchmarks.studies.smoothing` compares
settings. With a made-up detector whose false positives last as long as those of the GI Genius study
(88 % at most 6 frames), on the phantom, it left 1.5 of 9.1 false positives a minute at 30 frames a
second and 3.3 of 14.3 at 60, and lost no polyp. Smoothed score maps spare about as many for the
same delay and lose more frames of the polyps, so `weight` leaves them alone. Where frames are far
apart, as in a data set that leaves most out, links break and polyps are lost.

Real clips do not decide it yet. On .29 judged minutes at 25 frames a second (53 frames with a
polyp, 12 clean sequences whose true frame rate is not known;
`benchmarks/results/edge-s-smoothing.json`, `edge-xs-smoothing.json`), the default leaves 10 of 24
and 9 of 17 false events of .1 s or more, and delays the one polyp that is found by .12 and .16 s.
`gap=0` leaves 5 and 6 of them for the same delay, but with the made-up detector at 30 frames a
second it shows polyps on .66 of their frames instead of .79.
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

WHOLE = 256
"""Weight of a new score map that leaves it as it is."""

LINK = 0.2
"""Share of the smaller of two boxes that both share, from which they are one region in movement."""

FORGET_MS = 500.0
"""Time without a look after which everything begins anew: the camera has moved on."""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Settings; `Smoothing(seen=1, of=1)` shows everything at once.

    Attributes:
        seen: Frames on which a region must have been seen before it is shown.
        of: Last frames among which they are counted.
        least_ms: Time between the first sight of a region and the first frame on which it is shown,
            at least.
        gap: Frames without it that a shown region may come back from at once.
        weight: Of a new score map against the ones before it, in 1/256; 256 leaves score maps
            alone.
        reach: Cells of the score map that things move from frame to frame, for `weight` below 256.
    """

    seen: int = 4
    of: int = 6
    least_ms: float = 130.0
    gap: int = 10
    weight: int = WHOLE
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
        if not 1 <= self.weight <= WHOLE:
            raise UsageError(
                "the weight is not usable", expected=f"1 to {WHOLE}", got=f"{self.weight}"
            )

    def delay_ms(self, fps: float) -> float:
        """Milliseconds by which the first outline of a polyp that is found on every frame comes later."""
        return 1000 / fps * max(self.seen - 1, math.ceil(self.least_ms * fps / 1000))


@dataclass(slots=True)
class _Track:
    """A region followed over frames: where it was last, a bit for each of the last frames, and its misses."""

    boxes: list[Box]
    begun_ns: int
    history: int = 0
    missed: int = 0
    shown: bool = False

    def rank(self, box: Box) -> tuple[bool, bool, int, float]:
        """How well a region in a box fits; the first is whether it does at all."""
        shared = max(overlap(box, one) for one in self.boxes)
        return shared >= LINK, self.shown, self.history.bit_count(), shared


class Smoother:
    """Holds back what was seen too shortly; for one source, frame after frame.

    Args:
        settings: What is held back.
        output: Threshold and least region of the bundle in use, asked for each frame; needed for a
            `weight` below 256 only.
        fps: None for a live source; of a clip its rate, by which its frames are dated
            (`edge.pipeline.frame_time`).
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
        if self.settings.weight < WHOLE and output is None:
            raise UsageError(
                "smoothing of score maps needs the output of the manifest",
                expected="threshold, least region",
            )
        self._output = output
        self._tracks: list[_Track] = []
        self._mean: ImageU8 | None = None
        self._part: Box | None = None
        self._looked_ns: int | None = None

    def apply(self, frame: Frame, result: Result) -> Result:
        """The result with the regions that may be shown.

        Args:
            frame: The frame; by its capture stamp a long silence is told.
            result: What was found on it; one with a reason is no look, and is given back.
        """
        if result.reason is not None:
            return result
        now = moment_ns(frame, self._fps)
        if self._looked_ns is not None and now - self._looked_ns > FORGET_MS * 1e6:
            self._tracks, self._mean = [], None
        if result.part != self._part:
            # The cells of the score maps before this one lie elsewhere.
            self._part, self._mean = result.part, None
        self._looked_ns = now
        found = result.regions
        if self.settings.weight < WHOLE and self._output is not None and result.scores is not None:
            output, size = self._output(), (frame.image.shape[0], frame.image.shape[1])
            lowered = self._lower(result.scores)
            kept = regions(lowered, size, output.point, part=result.part)
            # Only within what the caller found: it may have left out what lies outside the view.
            found = tuple(
                region for region in kept if any(overlap(region.box, one.box) for one in found)
            )
        shown = self._follow(found, now)
        return replace(result, regions=shown, mask_area=mask_area(shown))

    def _lower(self, scores: ImageU8) -> ImageU8:
        """Scores, lowered where the frames before this one had none nearby.

        The mean of before is first brought as near to the new score as its values within `reach`
        allow, so that what moves is not smeared.
        """
        mean, weight = self._mean, self.settings.weight / WHOLE
        if mean is None or mean.shape != scores.shape:
            mean = scores
        cell = np.ones((2 * self.settings.reach + 1,) * 2, np.uint8)
        near = cv2.min(cv2.max(scores, cv2.erode(mean, cell)), cv2.dilate(mean, cell))
        self._mean = cast("ImageU8", cv2.addWeighted(scores, weight, near, 1 - weight, 0))
        return cast("ImageU8", cv2.min(scores, self._mean))

    def _follow(self, found: Sequence[Region], now: int) -> tuple[Region, ...]:
        """Link regions to tracks; the ones that may be shown, in their order."""
        owners: list[_Track] = []
        for region in found:
            ranked = [(track.rank(region.box), track) for track in self._tracks]
            rank, best = max(ranked, key=lambda pair: pair[0], default=((False,), None))
            owners.append(best if best is not None and rank[0] else _Track([region.box], now))
        known = {id(track) for track in self._tracks}
        self._tracks += [track for track in owners if id(track) not in known]
        settings, window = self.settings, (1 << self.settings.of) - 1
        for track in self._tracks:
            here = [
                region.box for region, owner in zip(found, owners, strict=True) if owner is track
            ]
            track.boxes = here or track.boxes
            track.missed = 0 if here else track.missed + 1
            track.history = (track.history << 1 | bool(here)) & window
            if (
                track.history.bit_count() >= settings.seen
                and now - track.begun_ns >= settings.least_ms * 1e6
            ):
                track.shown = True
        self._tracks = [
            track
            for track in self._tracks
            if (track.missed <= settings.gap if track.shown else track.history)
        ]
        return tuple(region for region, owner in zip(found, owners, strict=True) if owner.shown)


def overlap(one: Box, other: Box) -> float:
    """What two boxes share, as a share of the smaller one, 0 to 1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min(one[2] * one[3], other[2] * other[3])
