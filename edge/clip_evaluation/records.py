"""Records of a video evaluation."""

from __future__ import annotations

from typing import Any

import msgspec

# msgspec reads these annotations when it decodes a record.
from edge.evaluation.delimit.boxes import BoxFigures  # noqa: TC001
from edge.record_header import RecordHeader  # noqa: TC001


class PolypRow(msgspec.Struct, frozen=True, kw_only=True):
    """One appearance of a polyp: consecutive frames whose boxes overlap from frame to frame.

    Attributes:
        clip: Name of the clip.
        begin_s: Time of its first frame in the clip, seconds.
        seconds: How long it is visible.
        at_start: Whether the clip or the piece of it begins with the polyp in view, so that its
            real first appearance is unknown.
        judged_frames: Its frames that the device judged; without any it counts neither as found nor
            as missed.
        first_s: Seconds from its first frame to the first frame on which a shown region overlaps
            its box; None if there is no such frame.
    """

    clip: str
    begin_s: float
    seconds: float
    at_start: bool
    judged_frames: int
    first_s: float | None


class FalseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive judged frames on which a shown region overlaps no true box.

    Attributes:
        clip: Name of the clip.
        begin_s: Time of its first frame in the clip, seconds.
        seconds: From its first frame to the end of its last one.
    """

    clip: str
    begin_s: float
    seconds: float


class EventRate(msgspec.Struct, frozen=True, kw_only=True):
    """Rate of the false events of a minimum duration.

    Attributes:
        least_s: Minimum duration, seconds.
        events: False events that last at least `least_s`.
        per_minute: Events per judged minute; None if nothing was judged.
        ci95: Exact Poisson 95 % interval of `per_minute`; None if nothing was judged.
    """

    least_s: float
    events: int
    per_minute: float | None
    ci95: tuple[float, float] | None


class ViewFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of what was shown with one smoothing setting; shares of zero frames are None.

    Attributes:
        polyps_found: Polyp appearances that a shown region overlaps on at least one frame.
        first_s_median: Median of `PolypRow.first_s` over the appearances found; None without any.
        frames_hit: Judged frames with a box on which a shown region overlaps a box.
        share_hit: `frames_hit` as a share of all judged frames with a box.
        frames_hit_iou: Frames among `frames_hit` on which the box of a region and a true box have
            an intersection over union of at least 0.3.
        share_hit_iou: `frames_hit_iou` as a share of all judged frames with a box.
        false_frames: Judged frames on which a shown region overlaps no box.
        share_false: `false_frames` as a share of all judged frames.
        flickers: How often a shown region was gone for less than 500 ms and came back.
        flickers_per_minute: `flickers` per judged minute.
        event_rates: False events per minute, for each minimum duration.
        boxes: Precision, recall, F1 and average precision of the shown boxes on the judged frames,
            at an IoU of .5; None in older records.
        polyps: Every polyp appearance.
        false_events: Every false event, however short.
    """

    polyps_found: int
    first_s_median: float | None
    frames_hit: int
    share_hit: float | None
    frames_hit_iou: int
    share_hit_iou: float | None
    false_frames: int
    share_false: float | None
    flickers: int
    flickers_per_minute: float | None
    event_rates: list[EventRate]
    polyps: list[PolypRow]
    false_events: list[FalseEvent]
    boxes: BoxFigures | None = None


class ClipFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One clip, or the sum of all.

    Attributes:
        name: File name of the clip, or `all clips`.
        truth: `boxes`, `masks` or `clean`; for the sum, all that occur, joined by a plus sign.
        frames: Number of frames.
        seconds: Duration of the frames.
        judged_frames: Frames that the device judged; the basis of all shares and rates.
        judged_minutes: Duration of the judged frames.
        not_judged: Kind of reason (such as `blurred`) -> frames on which nothing was judged.
        frames_with_box: Judged frames with at least one true box.
        frames_with_box_not_judged: Frames with a box that were not judged.
        polyps: Polyp appearances.
        polyps_not_judged: Appearances without a judged frame, which count neither as found nor
            missed.
        smoothed: What is shown with smoothing over time, as by `edge-difom run`.
        unsmoothed: What would be shown of the same scores without it.
    """

    name: str
    truth: str
    frames: int
    seconds: float
    judged_frames: int
    judged_minutes: float
    not_judged: dict[str, int]
    frames_with_box: int
    frames_with_box_not_judged: int
    polyps: int
    polyps_not_judged: int
    smoothed: ViewFigures
    unsmoothed: ViewFigures


class VideoReport(msgspec.Struct, frozen=True, kw_only=True):
    """A video evaluation.

    Attributes:
        bundle: Name of the bundle.
        engine: Name of the engine.
        settings: Settings that the engine's runtime reports.
        threshold: Score from which a pixel belongs to the mask.
        smoothing: Settings of the smoothing.
        total: All clips together: counts and minutes are sums; rates and medians are computed over
            all clips.
        clips: One row per clip.
        header: What the record is of; None in records of older versions.
    """

    bundle: str
    engine: str
    settings: dict[str, Any]
    threshold: float
    smoothing: dict[str, float]
    total: ClipFigures
    clips: list[ClipFigures]
    header: RecordHeader | None = None
