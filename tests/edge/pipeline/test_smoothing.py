"""Which regions are shown over time, and that nothing is shown that was not found on the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UsageError
from edge.frame import Frame, OperatingPoint, Region, Result
from edge.imaging.postprocess import regions
from edge.pipeline.smoothing import FORGET_MS, Smoother, Smoothing, overlap
from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bundle import manifest as m
    from edge.frame import Box

IMAGE = np.zeros((100, 200, 3), np.uint8)
BOX = (40, 40, 20, 20)


def region(box: Box) -> Region:
    x, y, w, h = box
    return Region(
        box, ((x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1)), w * h / 20000, 0.9
    )


def shown(
    smoother: Smoother, frames: Sequence[Sequence[Box]], *, fps: float = 30.0, start: int = 0
) -> list[list[Box]]:
    out = []
    for number, boxes in enumerate(frames, start):
        found_regions = tuple(region(box) for box in boxes)
        result = Result(None, found_regions, sum(one.area for one in found_regions), None)
        smoothed = smoother.apply(Frame(number, IMAGE, round(number * 1e9 / fps)), result)
        assert set(smoothed.regions) <= set(found_regions)
        assert smoothed.mask_area == pytest.approx(sum(one.area for one in smoothed.regions))
        out.append([one.box for one in smoothed.regions])
    return out


def pattern(text: str) -> list[list[Box]]:
    """A region on each frame that is marked."""
    return [[BOX] if letter == "x" else [] for letter in text]


def visible(text: str, smoothing: Smoothing) -> str:
    return "".join("x" if boxes else "." for boxes in shown(Smoother(smoothing), pattern(text)))


@pytest.mark.parametrize(
    ("pattern_found", "expected"),
    [
        ("xxxxxx", "..xxxx"),  # from the third sight on
        ("xx....xx....", "............"),  # short runs are never shown
        ("x.x.x.", "....x."),  # three of five, with gaps
        ("x..x..x..x", ".........."),  # too sparse
        ("xxx..xx", "..x..xx"),  # a short gap: shown again at once
        ("xxx...xxx", "..x.....x"),  # a longer one begins anew
        ("......", "......"),
    ],
)
def test_a_region_is_shown_once_it_was_seen_on_n_of_m_frames(
    pattern_found: str, expected: str
) -> None:
    assert visible(pattern_found, Smoothing(seen=3, of=5, gap=2, least_ms=0)) == expected


def test_without_smoothing_everything_is_shown_at_once() -> None:
    assert visible("x.xx.x", Smoothing(seen=1, of=1, gap=0, least_ms=0)) == "x.xx.x"


@given(
    st.lists(
        st.lists(
            st.sampled_from([BOX, (44, 40, 20, 20), (120, 10, 30, 30)]), max_size=2, unique=True
        )
    )
)
def test_nothing_is_shown_that_was_not_found_and_never_too_early(frames: list[list[Box]]) -> None:
    out = shown(Smoother(), frames)
    least = Smoothing().seen
    for number, boxes in enumerate(out):
        assert all(box in frames[number] for box in boxes)
        for box in boxes:
            sights = [k for k in range(number + 1) if any(overlap(box, one) for one in frames[k])]
            assert len(sights) >= least


@given(st.text("x.", max_size=60), st.integers(1, 6), st.integers(0, 4), st.integers(0, 8))
def test_every_short_run_is_suppressed_and_every_long_one_shown(
    text: str, least: int, more: int, gap: int
) -> None:
    out = visible(text, Smoothing(seen=least, of=least + more, gap=gap, least_ms=0))
    assert len(out) == len(text)
    for number, letter in enumerate(out):
        if letter == "x":
            assert text[: number + 1].count("x") >= least
        elif text[max(0, number + 1 - least) : number + 1] == "x" * least:
            pytest.fail(f"{text}: not shown at {number} after {least} in a row")


def test_a_moving_region_is_one_region_and_a_jumping_one_is_not() -> None:
    settings_ = Smoothing(seen=3, of=3, gap=2, least_ms=0)
    moving = [[(10 + 8 * n, 40, 20, 20)] for n in range(6)]
    assert [bool(boxes) for boxes in shown(Smoother(settings_), moving)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]
    jumping = [[(10 + 60 * (n % 3), 40, 20, 20)] for n in range(12)]
    assert not any(shown(Smoother(settings_), jumping))


def test_two_regions_are_followed_apart() -> None:
    left, right = (10, 10, 30, 30), (120, 50, 30, 30)
    frames = [[left], [left], [left, right], [left, right], [right, left]]
    assert shown(Smoother(Smoothing(seen=3, of=3, least_ms=0)), frames) == [
        [],
        [],
        [left],
        [left],
        [right, left],
    ]


def test_a_region_that_splits_stays_shown() -> None:
    region_before, parts = (10, 10, 60, 30), [(10, 10, 20, 30), (45, 10, 25, 30)]
    frames = [[region_before]] * 3 + [parts, parts]
    assert shown(Smoother(Smoothing(seen=3, of=3, least_ms=0)), frames)[3:] == [parts, parts]


def test_a_long_silence_begins_anew() -> None:
    smoother = Smoother(Smoothing(seen=2, of=3, gap=60, least_ms=0))
    assert shown(smoother, pattern("xxx"))[-1]
    silent = 3 + round(FORGET_MS / 1000 * 30) + 1
    assert shown(smoother, pattern("xx"), start=silent) == [[], [BOX]]


def test_a_frame_with_a_reason_is_no_look() -> None:
    smoother = Smoother(Smoothing(seen=2, of=2, gap=0, least_ms=0))
    shown(smoother, pattern("xx"))
    stale = Result(None, (), 0.0, Reason(ReasonKind.STALE, "143 ms old"))
    assert smoother.apply(Frame(2, IMAGE, 70_000_000), stale) is stale
    assert shown(smoother, pattern("x"), start=3) == [[BOX]]


@pytest.mark.parametrize("fps", [10.0, 25.0, 30.0, 50.0, 60.0])
@pytest.mark.parametrize(
    "smoothing", [Smoothing(), Smoothing(seen=3, of=5, least_ms=0), Smoothing(least_ms=300)]
)
def test_the_delay_is_the_stated_one_at_every_rate(fps: float, smoothing: Smoothing) -> None:
    out = shown(Smoother(smoothing), [[BOX]] * 40, fps=fps)
    first = next(number for number, boxes in enumerate(out) if boxes)
    assert smoothing.delay_ms(fps) == pytest.approx(first * 1000 / fps, abs=0.1)


def test_the_default_delays_a_polyp_by_133_ms() -> None:
    assert Smoothing().delay_ms(30.0) == Smoothing().delay_ms(60.0) == pytest.approx(133.3, abs=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seen": 0},
        {"seen": 5, "of": 4},
        {"of": 65},
        {"gap": -1},
        {"weight": 0},
        {"weight": 257},
        {"least_ms": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Smoothing(**wrong)


def test_smoothing_of_scores_needs_the_manifest() -> None:
    with pytest.raises(UsageError, match="manifest"):
        Smoother(Smoothing(weight=128))


def scored(
    smoother: Smoother,
    manifest: m.Manifest,
    maps: Sequence[np.ndarray[tuple[int, int], np.dtype[np.uint8]]],
) -> list[Result]:
    results = []
    for number, scores in enumerate(maps):
        found_regions = regions(
            scores,
            (100, 200),
            OperatingPoint(manifest.output.threshold, manifest.output.min_region),
        )
        frame = Frame(number, IMAGE, number * 33_000_000)
        results.append(smoother.apply(frame, Result(scores, found_regions, 0.1, None)))
    return results


def disc(
    row: int, column: int, value: int = 200
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    scores = np.zeros((25, 50), np.uint8)
    scores[row : row + 5, column : column + 5] = value
    return scores


def test_smoothed_scores_hold_back_a_flash_and_keep_what_moves(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]],
) -> None:
    manifest = tiny_parts[0]
    smoothing = Smoothing(seen=1, of=1, least_ms=0, weight=128, reach=2)
    nothing = np.zeros((25, 50), np.uint8)
    flash = scored(
        Smoother(smoothing, lambda: manifest.output),
        manifest,
        [nothing, disc(10, 10), nothing, nothing],
    )
    assert not any(result.regions for result in flash)
    steady = scored(
        Smoother(smoothing, lambda: manifest.output),
        manifest,
        [disc(10, 5 + 2 * n) for n in range(8)],
    )
    assert all(result.regions for result in steady)
    vanished = scored(
        Smoother(smoothing, lambda: manifest.output), manifest, [disc(10, 10)] * 4 + [nothing]
    )
    assert vanished[3].regions
    assert not vanished[4].regions, "nothing is drawn that was not found on the frame"


@settings(max_examples=30)
@given(
    st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=6),
    st.integers(1, 255),
    st.integers(0, 3),
)
def test_smoothing_only_lowers_scores(maps: list[bytes], weight: int, reach: int) -> None:
    smoother = Smoother(Smoothing(weight=weight, reach=reach), lambda: pytest.fail("not asked"))
    for data in maps:
        scores = np.frombuffer(data, np.uint8).reshape(8, 8)
        assert (smoother._lower(scores) <= scores).all()


def test_a_clip_is_dated_by_its_rate_however_fast_it_is_read() -> None:
    result_found = Result(None, (region(BOX),), 0.1, None)
    live, clip = Smoother(), Smoother(fps=30.0)
    firsts = []
    for smoother in (live, clip):
        smoothed = [
            smoother.apply(Frame(number, IMAGE, number * 1000), result_found)
            for number in range(20)
        ]
        firsts.append(
            next((number for number, result in enumerate(smoothed) if result.regions), None)
        )
    assert firsts == [None, 4]
