"""Dots with their intervals, one row per quantity: figures that are easier compared than read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.reports.drawing import LETTER, Chart, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROW = 24
_MARGIN = 0.22
"""Distance of the marks of one row, as a share of the row's height."""


class Dot(NamedTuple):
    """A figure.

    Attributes:
        value: Its value.
        interval: Its 95 % interval; None if unknown.
    """

    value: float
    interval: tuple[float, float] | None = None


class DotRow(NamedTuple):
    """A row of the plot.

    Attributes:
        label: Text beside the row.
        dots: One figure per kind; None leaves the place empty.
    """

    label: str
    dots: Sequence[Dot | None]


def interval_plot(
    rows: Sequence[DotRow],
    title: str,
    *,
    x_label: str,
    kinds: Sequence[str] = ("a", "b", "c", "d", "e"),
    x: Scale | None = None,
    zero: bool = False,
    width: int = 480,
) -> str:
    """Draw rows of dots with their intervals, the first row at the top.

    Args:
        rows: The rows; those without any dot keep their place.
        title: Description for those who cannot see it.
        x_label: Quantity of the horizontal axis.
        kinds: CSS class of each kind of dot.
        x: Scale of the axis; by default it spans all dots and intervals.
        zero: Whether to mark 0 with a line.
        width: Width in units of the drawing.

    Returns:
        SVG; empty if there is no dot.
    """
    dots = [dot for row in rows for dot in row.dots if dot is not None]
    if not dots:
        return ""
    ends = [end for dot in dots for end in (dot.value, *(dot.interval or ()))]
    longest = max(len(row.label) for row in rows)
    places = {float(len(rows) - number): row for number, row in enumerate(rows)}
    chart = Chart(
        x or Scale.over([*ends, 0.0] if zero else ends),
        Scale(0.4, len(rows) + 0.6),
        x_label=x_label,
        y_ticks={y: row.label for y, row in places.items()},
        width=width,
        height=60 + _ROW * len(rows),
        left=min(round(LETTER * longest) + 16, width // 2),
    )
    if zero:
        chart.line([(0.0, 0.4), (0.0, len(rows) + 0.6)], "roof")
    for y, row in places.items():
        for number, dot in enumerate(row.dots):
            if dot is None:
                continue
            at = y - _MARGIN * (number - (len(row.dots) - 1) / 2)
            if dot.interval is not None:
                chart.span(*dot.interval, at, kinds[number % len(kinds)])
            chart.dots([(dot.value, at)], kinds[number % len(kinds)], radius=4)
    return chart.svg(title)
