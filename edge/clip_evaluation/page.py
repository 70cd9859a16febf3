"""The page of a video evaluation: the figures, and for each clip what was shown when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.clip_evaluation.events import FLICKER_MS, GAP_MS, durations_ns
from edge.pipeline.smoothing import Smoothing
from edge.reports import plots
from edge.reports.html import render
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.clip_evaluation.events import ShownFrame
    from edge.clip_evaluation.records import ClipFigures, VideoReport
    from edge.clip_evaluation.run import Watched

_POINTS = 1200
"""Maximum number of points of the score-peak curve."""

_TRUE, _HIT, _FALSE, _PAUSED = "#2e7d32", "#0b79b0", "#d9730d", "#9aa5b1"


class _Lane(NamedTuple):
    """One line of a time line: its label, and colored spans of (begin, length) in seconds."""

    label: str
    spans: dict[str, list[tuple[float, float]]]


class _Chapter(NamedTuple):
    """A clip on the page."""

    figures: ClipFigures
    timeline: str


def require_extras() -> None:
    """Check the packages that the page needs before the evaluation starts.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    resolve("jinja2:Environment")
    resolve("matplotlib.figure:Figure")


def video_page(report: VideoReport, watched: Sequence[Watched]) -> str:
    """Return the page as HTML in one file. It contains no frames.

    Args:
        report: What was counted.
        watched: What was found on each frame, in the order of `report.clips`.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    smoothing = Smoothing(**report.smoothing)  # type: ignore[arg-type] # the record holds numbers
    several = len(report.clips) > 1
    return render(
        "video.html.j2",
        report=report,
        rows=[*report.clips, report.total] if several else report.clips,
        chapters=[
            _Chapter(figures, timeline(clip, smoothing, report.threshold))
            for figures, clip in zip(report.clips, watched, strict=True)
        ],
        flicker_ms=FLICKER_MS,
        gap_ms=GAP_MS,
    )


def timeline(clip: Watched, smoothing: Smoothing, threshold: float) -> str:
    """Return the time line of a clip as SVG: truth, what was shown, pauses and the score peak.

    Args:
        clip: What was found on each frame.
        smoothing: Setting of the smoothing.
        threshold: Score from which a pixel belongs to the mask.
    """
    shown_frames = clip.shown_both(smoothing)
    lasts = [last / 1e9 for last in durations_ns([look.at_ns for look in clip.looks])]
    lanes = [
        _Lane(
            "truth",
            {
                _TRUE: _spans(
                    shown_frames.smoothed, lasts, [bool(f.truth) for f in shown_frames.smoothed]
                )
            },
        ),
        _shown_lane("with smoothing", shown_frames.smoothed, lasts),
        _shown_lane("without smoothing", shown_frames.unsmoothed, lasts),
        _Lane(
            "not judged",
            {
                _PAUSED: _spans(
                    shown_frames.smoothed, lasts, [bool(f.reason) for f in shown_frames.smoothed]
                )
            },
        ),
    ]
    plot = plots.Plot(width=9.0, height=2.8)
    for place, lane in enumerate(lanes):
        y = len(lanes) - place
        for color, spans in lane.spans.items():
            plot.axes.broken_barh(spans, (y + 0.14, 0.72), facecolors=color, linewidth=0)
    for piece in _peaks(clip):
        plot.axes.plot(
            [at for at, _ in piece], [peak for _, peak in piece], color="#5b6875", linewidth=0.9
        )
    plot.axes.axhline(threshold, color="#5b6875", linewidth=0.7, linestyle=":")
    plot.axes.set_yticks(
        [0, threshold, *(len(lanes) - place + 0.5 for place in range(len(lanes)))],
        ["0", f"score peak {threshold:.2f}", *(lane.label for lane in lanes)],
    )
    plot.axes.set_ylim(-0.05, len(lanes) + 1)
    plot.axes.set_xlim(clip.looks[0].at_ns / 1e9, clip.looks[-1].at_ns / 1e9 + lasts[-1])
    plot.axes.set_xlabel("seconds")
    return plot.svg()


def _shown_lane(label: str, frames: Sequence[ShownFrame], lasts: Sequence[float]) -> _Lane:
    """Return a lane that distinguishes frames with a false region from all other shown frames."""
    return _Lane(
        label,
        {
            _HIT: _spans(
                frames, lasts, [bool(frame.shown) and not frame.false for frame in frames]
            ),
            _FALSE: _spans(frames, lasts, [frame.false for frame in frames]),
        },
    )


def _spans(
    frames: Sequence[ShownFrame], lasts: Sequence[float], marked: Iterable[bool]
) -> list[tuple[float, float]]:
    """Return begin and length of each run of marked frames, seconds."""
    spans: list[tuple[float, float]] = []
    end = None
    for frame, last, mark in zip(frames, lasts, marked, strict=True):
        begin = frame.at_ns / 1e9
        if not mark:
            continue
        if end is not None and abs(begin - end) < 1e-6:
            spans[-1] = (spans[-1][0], begin + last - spans[-1][0])
        else:
            spans.append((begin, last))
        end = begin + last
    return spans


def _peaks(clip: Watched) -> list[list[tuple[float, float]]]:
    """Return the score peak over time in pieces without a pause, the highest of each few frames."""
    step = max(1, len(clip.looks) // _POINTS)
    pieces: list[list[tuple[float, float]]] = [[]]
    for begin in range(0, len(clip.looks), step):
        bin_ = clip.looks[begin : begin + step]
        peaks = [look.peak for look in bin_ if look.peak is not None]
        if peaks:
            pieces[-1].append((bin_[0].at_ns / 1e9, max(peaks)))
        elif pieces[-1]:
            pieces.append([])
    return pieces
