"""What is found and what is flagged, against values worked out by hand."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evaluation.detection import FrameFindings, froc_curve, summarize_detection
from edge.evaluation.evaluator import find_in_frame
from edge.evaluation.findings import Findings, Polyp
from edge.evaluation.metrics import SIZES, size_of
from edge.frame import OperatingPoint
from edge.reports.plots import froc_curves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.evaluation.detection import Detection

SIDE = 64


def square(*places: tuple[int, int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Squares of row, column, side and value."""
    scores = np.zeros((SIDE, SIDE), np.uint8)
    for row, column, side, value in places:
        scores[row : row + side, column : column + side] = value
    return scores


def found_on(scores: object, true: object, **point: float) -> Findings:
    values = np.asarray(scores)
    return find_in_frame(values, np.asarray(true) > 0, OperatingPoint(**point))[1]


def clean(flag: float | None, *false: float) -> Findings:
    return Findings(polyps=[], false_peaks=list(false), flag_peak=flag)


def counted(frames: Sequence[FrameFindings], min_peak: float = 0.0) -> Detection:
    return summarize_detection(
        frames, OperatingPoint(0.5, 0.001, min_peak), size_of=size_of, sizes=SIZES
    )


def test_each_connected_polyp_is_judged_on_its_own() -> None:
    true = square((4, 4, 10, 1), (40, 40, 12, 1), (4, 40, 8, 1))
    scores = square((4, 4, 10, 200), (40, 40, 5, 250), (40, 4, 8, 220))
    findings = found_on(scores, true)
    assert [round(polyp.area * SIDE * SIDE) for polyp in findings.polyps] == [144, 100, 64]
    large, middle, missed = findings.polyps
    assert (large.overlap_peak, large.match_peak) == (250 / 256, None), "touched, not outlined"
    assert (middle.overlap_peak, middle.match_peak) == (200 / 256, 200 / 256)
    assert (missed.overlap_peak, missed.match_peak) == (None, None)
    assert findings.false_peaks == [220 / 256]
    assert findings.flag_peak == 250 / 256


def test_a_speck_of_the_drawing_is_no_polyp() -> None:
    true = np.zeros((200, 200), np.uint8)
    true[50:90, 50:90], true[150, 150:153] = 1, 1
    assert len(found_on(square(), true).polyps) == 1
    alone = np.zeros((200, 200), np.uint8)
    alone[150, 150:153] = 1
    assert len(found_on(square(), alone).polyps) == 1


def test_counts_by_hand() -> None:
    polyp = Polyp(area=0.05, overlap_peak=0.75, match_peak=0.5)
    lost = Polyp(area=0.005, overlap_peak=None, match_peak=None)
    frames = [
        FrameFindings("A", "x", Findings(polyps=[polyp, lost], false_peaks=[0.5], flag_peak=0.75)),
        FrameFindings("B", "s1", clean(0.9, 0.9, 0.6)),
        FrameFindings("B", "s1", clean(None)),
        FrameFindings("B", "s2", clean(0.6, 0.6)),
    ]
    every = counted(frames)
    assert (every.polyps.n, every.polyps.overlapped, every.polyps.matched) == (2, 1, 1)
    assert (every.images.n, every.images.overlapped) == (1, 1)
    assert (every.by_size["medium"].overlapped, every.by_size["small"].overlapped) == (1, 0)
    assert every.false_regions == 4 / 4
    assert (every.clean.n, every.clean.flagged, every.clean.flagged_sequences) == (3, 2, 2)
    high = counted(frames, 0.7)
    assert (high.polyps.overlapped, high.polyps.matched, high.clean.flagged) == (1, 0, 1)
    assert high.false_regions == 1 / 4
    assert (high.by_set["B"].flagged, high.by_sequence["B/s1"].clean) == (1, 2)
    assert high.froc == every.froc, "the curve does not depend on the point's own peak"


peaks = st.integers(1, 255).map(lambda step: step / 256)
maybe = st.none() | peaks
polyps = st.builds(Polyp, area=st.just(0.05), overlap_peak=maybe, match_peak=maybe)
findings = st.builds(
    Findings,
    polyps=st.lists(polyps, max_size=2),
    false_peaks=st.lists(peaks, max_size=3),
    flag_peak=maybe,
)


@settings(max_examples=40)
@given(st.lists(findings, min_size=1, max_size=6), st.integers(0, 255))
def test_the_curve_only_falls_and_agrees_with_the_counts(frames: list[Findings], step: int) -> None:
    curve = froc_curve(frames)
    assert curve[-1].min_peak == 255 / 256
    for left, right in itertools.pairwise(curve):
        assert left.min_peak < right.min_peak
        for name in ("overlapped", "matched", "false_regions", "flagged"):
            a, b = getattr(left, name), getattr(right, name)
            assert (a is None and b is None) or a >= b
    detection = counted(
        [FrameFindings("A", str(n), frame) for n, frame in enumerate(frames)], step / 256
    )
    point = next(point for point in curve if point.min_peak >= step / 256)
    assert point.false_regions == detection.false_regions
    if detection.polyps.n:
        assert point.overlapped == detection.polyps.overlapped / detection.polyps.n
        assert point.matched == detection.polyps.matched / detection.polyps.n
    if detection.clean.n:
        assert point.flagged == detection.clean.flagged / detection.clean.n


def test_curves_of_two_evaluations_are_drawn() -> None:
    polyp = Polyp(area=0.05, overlap_peak=0.75, match_peak=0.5)
    with_polyp = FrameFindings(
        "A", "x", Findings(polyps=[polyp], false_peaks=[0.5], flag_peak=0.75)
    )
    both = counted([with_polyp, FrameFindings("B", "y", clean(0.9, 0.9))])
    assert froc_curves({"new": both, "old": both}, "flagged").count("</svg>") == 1
    assert froc_curves({"new": counted([with_polyp])}, "false_regions")
    assert froc_curves({"new": counted([with_polyp])}, "flagged") == ""


def test_records_store_the_minimum_peak_as_least_peak() -> None:
    findings = Findings(polyps=[], false_peaks=[0.5], flag_peak=0.5)
    record = msgspec.to_builtins(counted([FrameFindings("A", "1", findings)], 0.25))
    assert record["least_peak"] == 0.25
    assert all("least_peak" in point and "min_peak" not in point for point in record["froc"])
