"""Count what was shown on a clip against its truth: polyps, false events, flicker.

Everything here is a pure function of per-frame records, and all time comes from the stamps of the
frames, so that clips of any and of varying frame rate can be compared and summed.

* A frame lasts until the stamp of the next one. A step of more than `GAP_MS` is a gap: the frame
  before it, like the last frame of a clip, lasts the median step, and everything that spans frames
  ends there.
* A frame with a reason was not judged. It shows nothing, it ends whatever is shown, and it is in no
  share and no rate.
* A region hits a true box if their boxes overlap at all.
* Precision, recall, F1 and average precision take an IoU of .5, as detection benchmarks do, and
  need no time.
* A box of a detection head counts like the box of a region: both are shown.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from edge.clip_evaluation.events import (
    ShownFrame,
    after_gap,
    box_iou,
    count_flickers,
    durations_ns,
    false_runs,
    polyp_tracks,
    shared,
)
from edge.clip_evaluation.poisson import poisson_interval
from edge.clip_evaluation.records import ClipFigures, EventRate, FalseEvent, PolypRow, ViewFigures
from edge.errors import DataError
from edge.evaluation.delimit.base import Proposal
from edge.evaluation.delimit.boxes import box_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge.frame import Box

MIN_EVENT_S = (0.1, 0.5, 1.0, 2.0)
"""Minimum durations of the false events that are counted, seconds."""

HIT_IOU = 0.3
"""Minimum IoU of a region's box and a true box, for the stricter share of frames."""

_ROUNDING_NS = 1_000_000
"""Containers round stamps to a millisecond: three frames at 30 a second may last 99 ms."""


class ShownClip(NamedTuple):
    """A clip, shown with and without smoothing over time; both have the same frames.

    Attributes:
        name: File name of the clip.
        truth: `boxes`, `masks` or `clean`.
        smoothed: Frames with smoothing.
        unsmoothed: Frames without it.
    """

    name: str
    truth: str
    smoothed: Sequence[ShownFrame]
    unsmoothed: Sequence[ShownFrame]


def clip_figures(name: str, clips: Sequence[ShownClip]) -> ClipFigures:
    """Count one clip, or sum several.

    Args:
        name: Name of the clip or of the sum.
        clips: What was shown on each.

    Raises:
        DataError: There is no clip, or a clip's stamps cannot be used (`durations_ns`).
    """
    if not clips:
        raise DataError("no clip was evaluated", expected="at least one")
    frames = [frame for clip in clips for frame in clip.smoothed]
    lasts = [
        last for clip in clips for last in durations_ns([frame.at_ns for frame in clip.smoothed])
    ]
    smoothed = view_figures([(clip.name, clip.smoothed) for clip in clips])
    reasons = Counter(frame.reason for frame in frames if frame.reason)
    return ClipFigures(
        name=name,
        truth="+".join(sorted({clip.truth for clip in clips})),
        frames=len(frames),
        seconds=sum(lasts) / 1e9,
        judged_frames=len(frames) - reasons.total(),
        judged_minutes=_minutes(frames, lasts),
        not_judged=dict(sorted(reasons.items())),
        frames_with_box=sum(bool(frame.truth) and not frame.reason for frame in frames),
        frames_with_box_not_judged=sum(bool(frame.truth and frame.reason) for frame in frames),
        polyps=len(smoothed.polyps),
        polyps_not_judged=sum(not polyp.judged_frames for polyp in smoothed.polyps),
        smoothed=smoothed,
        unsmoothed=view_figures([(clip.name, clip.unsmoothed) for clip in clips]),
    )


def view_figures(clips: Sequence[tuple[str, Sequence[ShownFrame]]]) -> ViewFigures:
    """Count what was shown on clips with one setting of the smoothing, all clips summed.

    Args:
        clips: Name and frames of each clip.

    Raises:
        DataError: A clip's stamps cannot be used (`durations_ns`).
    """
    polyps: list[PolypRow] = []
    events: list[FalseEvent] = []
    event_ns: list[int] = []
    judged: list[ShownFrame] = []
    minutes, flickers = 0.0, 0
    for name, frames in clips:
        lasts = durations_ns([frame.at_ns for frame in frames])
        minutes += _minutes(frames, lasts)
        judged += [frame for frame in frames if not frame.reason]
        flickers += count_flickers(frames)
        polyps += [_polyp_row(name, track, frames, lasts) for track in polyp_tracks(frames)]
        for first, last in false_runs(frames):
            begin, end = frames[first].at_ns, frames[last].at_ns + lasts[last]
            event_ns.append(end - begin)
            events.append(FalseEvent(clip=name, begin_s=begin / 1e9, seconds=(end - begin) / 1e9))
    first_times = [polyp.first_s for polyp in polyps if polyp.first_s is not None]
    with_box = [frame for frame in judged if frame.truth]
    hit = sum(_best(frame, shared) > 0 for frame in with_box)
    hit_iou = sum(_best(frame, box_iou) >= HIT_IOU for frame in with_box)
    false = sum(frame.false for frame in judged)
    return ViewFigures(
        polyps_found=len(first_times),
        first_s_median=median(first_times) if first_times else None,
        frames_hit=hit,
        share_hit=_share(hit, len(with_box)),
        frames_hit_iou=hit_iou,
        share_hit_iou=_share(hit_iou, len(with_box)),
        false_frames=false,
        share_false=_share(false, len(judged)),
        flickers=flickers,
        flickers_per_minute=_share(flickers, minutes),
        event_rates=[_event_rate(least, event_ns, minutes) for least in MIN_EVENT_S],
        polyps=polyps,
        false_events=events,
        boxes=box_figures(
            [
                list(map(Proposal, frame.shown, frame.scores or (1.0,) * len(frame.shown)))
                for frame in judged
            ],
            [frame.truth for frame in judged],
        ),
    )


def _polyp_row(
    clip: str, track: Sequence[tuple[int, Box]], frames: Sequence[ShownFrame], lasts: Sequence[int]
) -> PolypRow:
    """Return the record of one appearance."""
    first, last = track[0][0], track[-1][0]
    begin = frames[first].at_ns
    hits = (
        number for number, box in track if any(shared(box, one) for one in frames[number].shown)
    )
    hit = next(hits, None)
    return PolypRow(
        clip=clip,
        begin_s=begin / 1e9,
        seconds=(frames[last].at_ns + lasts[last] - begin) / 1e9,
        at_start=first == 0 or after_gap(frames, first),
        judged_frames=sum(not frames[number].reason for number, _ in track),
        first_s=None if hit is None else (frames[hit].at_ns - begin) / 1e9,
    )


def _best(frame: ShownFrame, measure: Callable[[Box, Box], float]) -> float:
    """Return the maximum of a measure over all pairs of a shown and a true box, 0 without any."""
    return max((measure(box, true) for box in frame.shown for true in frame.truth), default=0.0)


def _event_rate(least_s: float, lasted_ns: Iterable[int], minutes: float) -> EventRate:
    """Return the rate of the events that last at least `least_s` seconds."""
    count = sum(lasted >= least_s * 1e9 - _ROUNDING_NS for lasted in lasted_ns)
    low, high = poisson_interval(count)
    return EventRate(
        least_s=least_s,
        events=count,
        per_minute=_share(count, minutes),
        ci95=(low / minutes, high / minutes) if minutes else None,
    )


def _minutes(frames: Sequence[ShownFrame], lasts: Sequence[int]) -> float:
    """Return how long the judged frames last, in minutes."""
    return sum(last for frame, last in zip(frames, lasts, strict=True) if not frame.reason) / 60e9


def _share(part: float, total: float) -> float | None:
    """Return a quotient, None if `total` is 0."""
    return part / total if total else None
