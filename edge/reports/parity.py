"""Parity between the student and its engines as one sentence and a small matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bundle.manifest import ParityRow


class ParityView(NamedTuple):
    """What a page shows of parity rows.

    Attributes:
        sentence: The outcome in one sentence.
        kinds: Kinds of frames, the columns.
        steps: `left -> right`, the rows, with one cell per kind; None where it was not compared.
    """

    sentence: str
    kinds: list[str]
    steps: dict[str, list[ParityRow | None]]


def parity_view(rows: Sequence[ParityRow]) -> ParityView | None:
    """Arrange parity rows for a page; None without rows.

    Args:
        rows: Comparisons of two steps on one kind of frames each.
    """
    if not rows:
        return None
    kinds = list(dict.fromkeys(row.on for row in rows))
    steps: dict[str, list[ParityRow | None]] = {}
    for row in rows:
        cells = steps.setdefault(f"{row.left} \u2192 {row.right}", [None] * len(kinds))
        cells[kinds.index(row.on)] = row
    return ParityView(_sentence(rows), kinds, steps)


def _sentence(rows: Sequence[ParityRow]) -> str:
    others = [row for row in rows if row.max_difference > 0]
    low, high = min(row.frames for row in rows), max(row.frames for row in rows)
    frames = f"{low} frames" if low == high else f"{low} to {high} frames"
    if not others:
        return f"Every comparison gave identical scores: {len(rows)}, on {frames} each."
    widest = max(others, key=lambda row: row.max_difference)
    text = (
        f"{len(rows) - len(others)} of {len(rows)} comparisons, on {frames} each, gave identical "
        f"scores; the largest difference of the others is {widest.max_difference:g}/256, between "
        f"{widest.left} and {widest.right} on {widest.on} frames"
    )
    judged = [row for row in others if row.worst_iou is not None]
    if not judged:
        return f"{text}."
    worst = min(judged, key=lambda row: row.worst_iou or 0.0)
    return (
        f"{text}, and their lowest mask IoU is {worst.worst_iou:.4f}, between {worst.left} and "
        f"{worst.right} on {worst.on} frames."
    )
