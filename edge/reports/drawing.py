"""Charts as SVG text with the page's own colors, so that one drawing suits light, dark and print.

Every mark has a CSS class; `edge/reports/templates/page.css` gives the classes their colors.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    Points = Sequence[tuple[float, float]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 14, 42
LETTER = 6.6
"""Width of a letter of a note in units of the drawing."""
_TICKS = 6


class Scale(NamedTuple):
    """The range of an axis.

    Attributes:
        low: Value at its start; positive if `log`.
        high: Value at its end, above `low`.
        log: Whether the axis is logarithmic.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], *, log: bool = False, zero: bool = False) -> Scale:
        """Make a scale with a margin around values; it starts at 0 if `zero`."""
        low, high = min(values), max(values)
        if log:
            return cls(low / 1.15, high * 1.15, True)
        margin = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
        return cls(0.0 if zero else low - margin, high + margin)

    def at(self, value: float) -> float:
        """Return the position of a value, 0 to 1; values beyond an end are clipped to it."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return round values between the ends."""
        if not self.log:
            return _round_values(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            values = [f * 10.0**e for e in range(first, last + 1) for f in factors]
            values = [value for value in values if self.low <= value <= self.high]
            if len(values) >= 3:
                return values[:: 1 + len(values) // 9]
        return _round_values(self.low, self.high)


class Chart:
    """Axes and the marks between them.

    Args:
        x: Horizontal scale.
        y: Vertical scale.
        x_label: Quantity and unit of the horizontal axis.
        y_label: Quantity and unit of the vertical axis.
        width: Width in units of the drawing.
        height: Height in units of the drawing.
        y_ticks: Value -> text; replaces the round numbers.
        left: Room for the text of the vertical axis in units of the drawing.
    """

    def __init__(
        self,
        x: Scale,
        y: Scale,
        *,
        x_label: str,
        y_label: str = "",
        width: int = 760,
        height: int = 260,
        y_ticks: dict[float, str] | None = None,
        left: int = _LEFT,
    ) -> None:
        self.x, self.y, self.width, self.height, self._left = x, y, width, height, left
        self._marks: list[str] = []
        right, bottom = width - _RIGHT, height - _BOTTOM
        for value in x.ticks():
            at = self._px(value)
            self._marks.append(
                f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>'
            )
            self._write(at, bottom + 16, number(value), "tick middle")
        rows = {value: number(value) for value in y.ticks()} if y_ticks is None else y_ticks
        for value, text in rows.items():
            at = self._py(value)
            self._marks.append(f'<line class="grid" x1="{left}" y1="{at}" x2="{right}" y2="{at}"/>')
            self._write(left - 8, at + 4, text, "tick end")
        self._marks.append(f'<path class="axis" d="M{left} {_TOP}V{bottom}H{right}"/>')
        self._write((left + right) / 2, height - 6, x_label, "label middle")
        if y_label:
            middle = (_TOP + bottom) / 2
            self._marks.append(
                f'<text class="label middle" transform="translate(12 {middle:.1f}) rotate(-90)">'
                f"{escape(y_label)}</text>"
            )

    def line(self, points: Points, kind: str, *, step: bool = False) -> None:
        """Draw a line through points; with `step`, a value lasts until the next one."""
        if not points:
            return
        path = f"M{self._px(points[0][0])} {self._py(points[0][1])}"
        for x, y in points[1:]:
            path += f"H{self._px(x)}V{self._py(y)}" if step else f"L{self._px(x)} {self._py(y)}"
        self._marks.append(f'<path class="line {kind}" d="{path}"/>')

    def dots(self, points: Points, kind: str, *, radius: float = 2.0) -> None:
        """Draw a dot at each point."""
        marks = (f'<circle cx="{self._px(x)}" cy="{self._py(y)}" r="{radius}"/>' for x, y in points)
        self._marks.append(f'<g class="dot {kind}">{"".join(marks)}</g>')

    def span(self, low: float, high: float, y: float, kind: str) -> None:
        """Draw a horizontal interval at a height, with its ends marked."""
        left, right, at = self._px(low), self._px(high), self._py(y)
        self._marks.append(
            f'<path class="span {kind}" d="M{left} {at}H{right}'
            f'M{left} {at - 4:.1f}v8M{right} {at - 4:.1f}v8"/>'
        )

    def bar(self, low: float, high: float, y: float, kind: str, *, thickness: float = 16) -> None:
        """Draw a horizontal bar centered at a height."""
        left, right = self._px(low), self._px(high)
        wide = max(right - left, 1.5)
        self._marks.append(
            f'<rect class="bar {kind}" x="{left}" y="{self._py(y) - thickness / 2:.1f}" '
            f'width="{wide:.1f}" height="{thickness}" rx="2"/>'
        )

    def note(self, x: float, y: float, text: str, *, lift: float = -6, push: float = 0) -> None:
        """Write text `push` to the right of a point and `lift` below; to its left near the edge."""
        at, end = self._px(x), self.width - _RIGHT
        if at + push + LETTER * len(text) <= end:
            self._write(at + push, self._py(y) + lift, text, "note")
        else:
            self._write(at - push, self._py(y) + lift, text, "note end")

    def svg(self, title: str) -> str:
        """Return the drawing as an `<svg>` element."""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(title, quote=True)}">'
            f"{''.join(self._marks)}</svg>"
        )

    def _write(self, x: float, y: float, text: str, kind: str) -> None:
        self._marks.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def _px(self, value: float) -> float:
        return round(self._left + self.x.at(value) * (self.width - self._left - _RIGHT), 1)

    def _py(self, value: float) -> float:
        return round(self.height - _BOTTOM - self.y.at(value) * (self.height - _TOP - _BOTTOM), 1)


def number(value: float) -> str:
    """Format a number briefly, as on an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-4:
        exponent = math.floor(math.log10(abs(value)))
        mantissa = value / 10**exponent
        return f"{'' if math.isclose(mantissa, 1) else f'{mantissa:g}·'}10{_superscript(exponent)}"
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _round_values(low: float, high: float) -> list[float]:
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
