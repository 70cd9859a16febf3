"""Rows of dots: each at its value, with its interval, in the order given."""

from __future__ import annotations

import re
from itertools import pairwise

from edge.reports.drawing import Scale
from edge.reports.interval_plot import Dot, DotRow, interval_plot


def test_dots_and_intervals_stand_at_their_values() -> None:
    svg = interval_plot(
        [DotRow("first", [Dot(0.25, (0.0, 0.5))]), DotRow("second", [None, Dot(0.75)])],
        "shares",
        x_label="share",
        x=Scale(0.0, 1.0),
    )
    dots = re.findall(r'class="dot (\w)"><circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert [kind for kind, *_ in dots] == ["a", "b"]
    (_, x1, y1), (_, x2, y2) = ((kind, float(x), float(y)) for kind, x, y in dots)
    assert y1 < y2, "the first row is at the top"
    (left, right) = map(float, re.findall(r'class="span a" d="M([\d.]+) [\d.]+H([\d.]+)', svg)[0])
    assert abs((left + right) / 2 - x1) < 0.2
    assert abs((x2 - left) - 3 * (x1 - left)) < 0.5, "0.75 lies three times as far from 0"


def test_labels_lie_left_of_the_axis_and_do_not_meet() -> None:
    rows = [DotRow(f"a rather long label {n}", [Dot(0.5)]) for n in range(31)]
    svg = interval_plot(rows, "many", x_label="share", zero=True)
    axis = float(re.findall(r'class="axis" d="M([\d.]+)', svg)[0])
    placed = re.findall(r'class="tick end" x="([\d.]+)" y="([\d.]+)">a rather', svg)
    assert len(placed) == 31
    assert all(float(x) < axis and float(x) > 6.6 * 22 for x, _ in placed)
    heights = sorted(float(y) for _, y in placed)
    assert min(b - a for a, b in pairwise(heights)) > 14


def test_without_dots_there_is_no_plot() -> None:
    assert interval_plot([DotRow("empty", [None])], "none", x_label="share") == ""
