"""Figures of a finished run, kept in its folder until its best weights change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edge.util.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")


def figures_by_folder(
    record: Path,
    folders: Sequence[Path],
    score: Callable[[Path], T],
    kind: Any,
    *,
    is_complete: Callable[[T], bool] = lambda _: True,
) -> dict[str, T]:
    """Score a run on data sets, and read what it was scored on before.

    Args:
        record: File in the run's folder; of no use if it is older than the best weights.
        folders: The data sets.
        score: Returns the figures of a run on a data set.
        kind: Type of these figures.
        is_complete: Whether figures of an earlier version hold all that is needed.

    Returns:
        The figures by the name of the data set's folder.
    """
    weights = record.parent / "checkpoints" / "best.pt"
    fresh = record.is_file() and record.stat().st_mtime_ns >= weights.stat().st_mtime_ns
    kept: dict[str, T] = (
        msgspec.json.decode(record.read_bytes(), type=dict[str, kind]) if fresh else {}
    )
    figures: dict[str, T] = {}
    for folder in folders:
        place = str(folder.resolve())
        if place not in kept or not is_complete(kept[place]):
            kept[place] = score(folder)
            write_json(record, kept)
        figures[folder.name] = kept[place]
    return figures


def flat(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of all data sets in one mapping, by `FIGURE, DATA SET`."""
    return {
        f"{name}, {folder}": value
        for folder, values in figures.items()
        for name, value in values.items()
    }
