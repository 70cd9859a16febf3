"""Figures on clips: polyps, false events and flicker by time stamps, with exact intervals."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clip_evaluation.events import (
    ShownFrame,
    box_iou,
    count_flickers,
    durations_ns,
    false_runs,
    polyp_tracks,
    shared,
)
from edge.clip_evaluation.figures import MIN_EVENT_S, ShownClip, clip_figures, view_figures
from edge.clip_evaluation.poisson import poisson_interval
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.clip_evaluation.records import ViewFigures

HERE, NEAR, FAR = (10, 10, 20, 20), (20, 10, 20, 20), (200, 100, 20, 20)
MS = 1_000_000


def frames(
    regions_shown: str,
    truth: str = "",
    *,
    step_ms: float = 40,
    stamps: Sequence[float] | None = None,
) -> list[ShownFrame]:
    """Frames of a pattern: `x` a region at HERE, `f` one FAR away, `p` not judged, `.` nothing."""
    at = stamps or [number * step_ms for number in range(len(regions_shown))]
    boxes = {"x": (HERE,), "f": (FAR,), "b": (HERE, FAR)}
    return [
        ShownFrame(
            round(at[number] * MS),
            boxes.get((truth or "." * len(regions_shown))[number], ()),
            boxes.get(letter, ()),
            "blurred" if letter == "p" else "",
        )
        for number, letter in enumerate(regions_shown)
    ]


def counted(regions_shown: str, truth: str = "", **options: Any) -> ViewFigures:
    return view_figures([("clip", frames(regions_shown, truth, **options))])


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood's limits as tables print them.
    [
        (0, 0, 3.6889),
        (1, 0.0253, 5.5716),
        (2, 0.2422, 7.2247),
        (5, 1.6235, 11.6683),
        (10, 4.7954, 18.3904),
        (20, 12.2165, 30.8884),
        (50, 37.1110, 65.9188),
        (100, 81.3639, 121.6272),
    ],
)
def test_the_interval_of_a_count_is_that_of_the_tables(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=6e-4)


def test_the_interval_of_a_large_count_is_near_the_normal_one() -> None:
    low, high = poisson_interval(5000)
    assert low < 5000 - 1.9 * 5000**0.5 < 5000 + 1.9 * 5000**0.5 < high
    with pytest.raises(UsageError):
        poisson_interval(-1)


def test_boxes_that_only_touch_share_nothing() -> None:
    assert shared(HERE, NEAR) == 200
    assert shared(HERE, (30, 10, 5, 5)) == 0
    assert box_iou(HERE, NEAR) == pytest.approx(1 / 3)


def test_a_polyp_is_found_from_its_first_shown_frame() -> None:
    """A polyp is found from the first frame on which it is shown."""
    figures = counted("....xx..xx", "..xxxxxxxx")
    (polyp,) = figures.polyps
    assert (polyp.begin_s, polyp.seconds) == pytest.approx((0.08, 0.32))
    assert not polyp.at_start
    assert figures.first_s_median == polyp.first_s == pytest.approx(0.08)
    assert (figures.polyps_found, figures.frames_hit, figures.share_hit) == (1, 4, 0.5)
    assert figures.false_events == []


def test_a_region_elsewhere_finds_no_polyp_and_is_false() -> None:
    figures = counted("ffff", "xxxx")
    assert figures.polyps_found == 0
    assert figures.first_s_median is None
    assert (figures.false_frames, figures.share_false) == (4, 1.0)
    assert figures.polyps[0].at_start


def test_overlap_and_iou_are_counted_apart() -> None:
    truth = ((10, 10, 60, 60),)
    frames_shown = [
        ShownFrame(n * 40 * MS, truth, (box,)) for n, box in enumerate([HERE, (10, 10, 60, 40)])
    ]
    figures = view_figures([("clip", frames_shown)])
    assert (figures.frames_hit, figures.frames_hit_iou, figures.share_hit_iou) == (2, 1, 0.5)


def test_boxes_are_judged_at_half_their_union_by_score() -> None:
    close = (10, 10, 20, 24)
    shown = [
        ShownFrame(0, (HERE,), (close, FAR), scores=(0.6, 0.9)),
        ShownFrame(40 * MS, (HERE,), (NEAR,), scores=(0.8,)),  # an IoU of a third
        ShownFrame(80 * MS, (HERE, FAR), (FAR, HERE), scores=(0.7, 0.95)),
        ShownFrame(120 * MS, (HERE,), (), "blurred"),
    ]
    boxes = view_figures([("clip", shown)]).boxes
    assert boxes is not None
    assert (boxes.iou, boxes.true, boxes.proposed, boxes.right) == (0.5, 4, 5, 3)
    assert (boxes.precision, boxes.recall) == (3 / 5, 3 / 4)
    assert boxes.f1 == pytest.approx(2 / 3)
    # In the order of the scores: right, wrong, wrong, right, right.
    assert boxes.average_precision == pytest.approx(0.25 * (1 + 3 / 5 + 3 / 5))
    alike = view_figures([("clip", [frame._replace(scores=()) for frame in shown])]).boxes
    assert alike is not None
    assert alike.average_precision == pytest.approx(3 / 4 * 3 / 5)
    nothing = counted("pp", "xx").boxes
    assert nothing is not None
    assert (nothing.true, nothing.precision, nothing.recall) == (0, None, None)


def test_appearances_are_linked_by_the_largest_overlap() -> None:
    """Appearances are linked by the largest overlap one to one."""
    # Two boxes that cross keep their own appearances, a jump begins a new one.
    moved = [
        ShownFrame(n * 40 * MS, boxes, ())
        for n, boxes in enumerate([(HERE, FAR), (FAR, NEAR), (NEAR, (21, 10, 20, 20)), (FAR,)])
    ]
    tracks = polyp_tracks(moved)
    assert [[number for number, _ in track] for track in tracks] == [[0, 1, 2], [0, 1], [2], [3]]
    assert tracks[0] == [(0, HERE), (1, NEAR), (2, NEAR)]


def test_frames_that_were_not_judged_end_events() -> None:
    """Frames that were not judged are in no share and end events."""
    clip = frames("ffpfpp..", "....xxxx")
    both = clip_figures("sum", [ShownClip("clip", "boxes", clip, clip)])
    assert both.not_judged == {"blurred": 3}
    assert (both.frames, both.judged_frames, both.frames_with_box) == (8, 5, 2)
    assert both.frames_with_box_not_judged == 2
    assert both.judged_minutes == pytest.approx(0.2 / 60)
    view = both.smoothed
    assert (view.share_false, view.share_hit) == (3 / 5, 0)
    assert [event.seconds for event in view.false_events] == pytest.approx([0.08, 0.04])
    assert view.polyps[0].judged_frames == 2


def test_a_polyp_without_a_judged_frame_does_not_count() -> None:
    """A polyp without a judged frame is neither found nor missed."""
    clip = frames("..ppp..", "..xxx..")
    both = clip_figures("sum", [ShownClip("clip", "boxes", clip, clip)])
    assert (both.polyps, both.polyps_not_judged, both.smoothed.polyps_found) == (1, 1, 0)
    assert both.smoothed.share_hit is None


def test_a_clip_that_was_never_judged_has_no_rates() -> None:
    clip = frames("pppp")
    view = view_figures([("clip", clip)])
    assert view.share_false is None
    assert view.flickers_per_minute is None
    assert all(rate.per_minute is None and rate.ci95 is None for rate in view.event_rates)


def test_a_gap_of_the_clip_ends_everything_and_is_no_time() -> None:
    stamps = [0, 40, 80, 5000, 5040, 5080]
    assert durations_ns([round(at * MS) for at in stamps]) == [40 * MS] * 6
    frames_shown = frames("ffffff", stamps=stamps)
    assert list(false_runs(frames_shown)) == [(0, 2), (3, 5)]
    assert len(polyp_tracks(frames("......", "xxxxxx", stamps=stamps))) == 2
    figures = counted("ffffff", stamps=stamps)
    assert figures.event_rates[0].per_minute == pytest.approx(2 / (0.24 / 60))


@pytest.mark.parametrize(
    ("stamps", "word"),
    [([0], "no duration"), ([0, 40, 40], "do not rise"), ([0, 900, 1800], "too far apart")],
)
def test_stamps_that_give_no_time_are_refused(stamps: list[float], word: str) -> None:
    with pytest.raises(DataError, match=word):
        durations_ns([round(at * MS) for at in stamps])


def test_least_durations_bear_the_rounding_of_stamps() -> None:
    """Three frames at 30 a second last 100 ms, and 99 ms in a container that rounds."""
    figures = counted("fff...", stamps=[0, 33, 66, 99, 132, 165])
    assert [rate.events for rate in figures.event_rates] == [1, 0, 0, 0]
    assert [rate.least_s for rate in figures.event_rates] == list(MIN_EVENT_S)
    assert [rate.events for rate in counted("ff....", step_ms=33.3).event_rates] == [0] * 4


@pytest.mark.parametrize(
    ("regions_shown", "flickers"),
    [
        ("xx.xx", 1),
        ("xx.x.x", 2),
        ("xx" + 12 * "." + "x", 1),  # gone for 480 ms
        ("xx" + 13 * "." + "x", 0),  # gone for 520 ms
        ("xxffxx", 1),  # another region does not bridge it
        ("bbxxbb", 1),  # one of two goes and comes back
        ("xxpxx", 0),  # a pause is no flicker
        ("xx..ff", 0),
        ("..xxx", 0),
    ],
)
def test_a_flicker_comes_back_within_half_a_second(regions_shown: str, flickers: int) -> None:
    """A flicker is a region that comes back within half a second."""
    assert count_flickers(frames(regions_shown)) == flickers


def test_a_moving_region_does_not_flicker() -> None:
    moving = [ShownFrame(n * 40 * MS, (), ((5 * n, 10, 20, 20),)) for n in range(30)]
    assert count_flickers(moving) == 0


def test_several_clips_are_summed_over_all_minutes() -> None:
    one, other = frames("ff..", "xxxx"), frames("........", step_ms=20)
    both = clip_figures(
        "all", [ShownClip("a", "boxes", one, one), ShownClip("b", "clean", other, other)]
    )
    assert both.truth == "boxes+clean"
    assert both.judged_minutes == pytest.approx(0.32 / 60)
    assert both.smoothed.event_rates[0].events == 0
    assert both.smoothed.share_false == pytest.approx(2 / 12)
    assert [event.clip for event in both.smoothed.false_events] == ["a"]
    with pytest.raises(DataError, match="no clip"):
        clip_figures("all", [])


Scene = list[tuple[float, float]]
"""Of each false event the time without one before it and its length, seconds."""

scenes = st.lists(st.tuples(st.floats(0.05, 1.5), st.floats(0.05, 1.5)), min_size=1, max_size=8)


def sampled(scene: Scene, stamps: list[float]) -> list[ShownFrame]:
    """A scene of gaps and events, seconds, as a camera with these stamps records it."""
    ends = list(accumulate(part for pair in scene for part in pair))
    spans = list(zip(ends[::2], ends[1::2], strict=True))
    return [
        ShownFrame(round(at * 1e9), (), (FAR,) if any(a <= at < b for a, b in spans) else ())
        for at in stamps
    ]


@given(scene=scenes)
@settings(max_examples=60)
def test_a_scene_gives_the_same_events_at_25_and_50_fps(scene: Scene) -> None:
    """A scene gives the same events at 25 and at 50 frames a second."""
    total = sum(map(sum, scene)) + 0.5
    slow = sampled(scene, [n / 25 for n in range(round(total * 25))])
    fast = sampled(scene, [n / 50 for n in range(round(total * 50))])
    few, many = (view_figures([("clip", frames_shown)]) for frames_shown in (slow, fast))
    # Events and the pauses between them are longer than a frame of the slower one.
    assert len(few.false_events) == len(many.false_events) == len(scene)
    for one, other, (_, length) in zip(few.false_events, many.false_events, scene, strict=True):
        assert one.seconds == pytest.approx(other.seconds, abs=0.0401)
        assert one.seconds == pytest.approx(length, abs=0.0401)
    clear = [
        length for _, length in scene if all(abs(length - least) > 0.0401 for least in MIN_EVENT_S)
    ]
    if len(clear) == len(scene):
        rates = [[rate.events for rate in figures.event_rates] for figures in (few, many)]
        assert (
            rates[0]
            == rates[1]
            == [sum(length >= least for length in clear) for least in MIN_EVENT_S]
        )


@given(scene=scenes, steps=st.lists(st.integers(10, 49), min_size=20, max_size=60))
@settings(max_examples=60)
def test_events_are_timed_by_stamps_that_vary(scene: Scene, steps: list[int]) -> None:
    total = sum(map(sum, scene)) + 0.5
    stamps, at, number = [], 0.0, 0
    while at < total:
        stamps.append(at)
        at += steps[number % len(steps)] / 1000
        number += 1
    figures = view_figures([("clip", sampled(scene, stamps))])
    assert len(figures.false_events) == len(scene)
    for event, (_, length) in zip(figures.false_events, scene, strict=True):
        assert event.seconds == pytest.approx(length, abs=0.05)


@given(
    pattern=st.text("xfbp.", min_size=2, max_size=60),
    truth=st.text("xfb.", min_size=60, max_size=60),
)
@settings(max_examples=80)
def test_counts_are_consistent(pattern: str, truth: str) -> None:
    clip = frames(pattern, truth[: len(pattern)])
    both = clip_figures("clip", [ShownClip("clip", "boxes", clip, clip)])
    view = both.smoothed
    assert both.judged_frames + sum(both.not_judged.values()) == both.frames
    assert both.judged_minutes <= both.seconds / 60 + 1e-12
    assert view.frames_hit_iou <= view.frames_hit <= both.frames_with_box
    assert view.polyps_found + both.polyps_not_judged <= both.polyps
    counts = [rate.events for rate in view.event_rates]
    assert counts == sorted(counts, reverse=True)
    assert sum(event.seconds for event in view.false_events) == pytest.approx(
        0.04 * view.false_frames
    )
