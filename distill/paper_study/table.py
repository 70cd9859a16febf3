"""The table of a study in Markdown, the published figures beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distill.paper_study.published import FIELD, PUBLISHED
from edge.datasets.public_sets import SETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.paper_study.run import CellResult, SetFigures, StudyRecord

NO_RESULT = "no result"
"""Stands in a cell whose teachers are random."""
_NONE = "-"
_MEASURES = ((FIELD, "mean_dice_a"), ("B, Dice", "dice_b"))


def table_rows(record: StudyRecord) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table: two measures for each student and number of teachers.

    The figure of several seeds is their mean with the smallest and the largest.
    """
    sets = list(dict.fromkeys(name for cell in record.cells for name in cell.sets))
    head = ["student", "foundations", "measure", *(_title(name) for name in sets)]
    groups: dict[tuple[str, int], list[CellResult]] = {}
    for cell in record.cells:
        groups.setdefault((cell.student, cell.foundations), []).append(cell)
    rows = []
    for (student, count), cells in groups.items():
        network = "" if cells[0].network == student else f" ({cells[0].network})"
        for measure, field in _MEASURES:
            figures = [_figure([cell.sets[name] for cell in cells], field) for name in sets]
            cells_shown = figures if cells[0].result else [NO_RESULT] * len(sets)
            rows.append(
                [student + network, f"{count}F" if count else "none", measure, *cells_shown]
            )
    for row in PUBLISHED:
        cells_shown = [f"{row.dice[name]:.4g}" if name in row.dice else _NONE for name in sets]
        if set(cells_shown) != {_NONE}:
            rows.append([f"published: {row.method} ({row.source})", "", row.measure, *cells_shown])
    return head, rows


def study_markdown(record: StudyRecord) -> str:
    """The table with what its figures mean."""
    head, rows = table_rows(record)
    lines = ["# Students by foundation models", ""]
    lines += [_line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    teachers = record.study["teachers"]
    lines += ["Teachers, in the order in which they are added: " + ", ".join(teachers) + ".", ""]
    seeds = record.study["seeds"]
    if seeds > 1:
        lines += [f"Means of {seeds} seeds, with the smallest and the largest.", ""]
    if any(not cell.result for cell in record.cells):
        lines += [
            f'"{NO_RESULT}": a teacher of the cell has random weights, so that the cell only shows '
            "that it runs.",
            "",
        ]
    notes = {
        f"{_title(name)}: {note}"
        for cell in record.cells
        for name, figures in cell.sets.items()
        for note in figures.notes
    }
    lines += [f"* {note}" for note in sorted(notes)]
    return "\n".join(lines).rstrip() + "\n"


def _title(name: str) -> str:
    return SETS[name].title if name in SETS else name


def _figure(figures_of_sets: Sequence[SetFigures], field: str) -> str:
    values = [
        value for figures in figures_of_sets if (value := getattr(figures, field)) is not None
    ]
    if not values:
        return _NONE
    mean = f"{float(np.mean(values)):.4f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4f} to {max(values):.4f})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
