import os
from pathlib import Path

import pytest

from benchmarks.studies.kept_figures import figures_by_folder, flat


@pytest.fixture
def record(tmp_path: Path) -> Path:
    weights = tmp_path / "run" / "checkpoints" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return tmp_path / "run" / "figures.json"


def test_a_data_set_is_scored_once_for_the_same_weights(record: Path, tmp_path: Path) -> None:
    calls: list[str] = []

    def score(folder: Path) -> dict[str, float]:
        calls.append(folder.name)
        return {"Dice": float(len(calls))}

    def figures(*names: str) -> dict[str, dict[str, float]]:
        return figures_by_folder(record, [tmp_path / n for n in names], score, dict[str, float])

    assert figures("a") == {"a": {"Dice": 1.0}}
    assert figures("a", "b") == {"a": {"Dice": 1.0}, "b": {"Dice": 2.0}}
    assert calls == ["a", "b"]
    later = record.stat().st_mtime_ns + 1_000_000_000
    os.utime(record.parent / "checkpoints" / "best.pt", ns=(later, later))
    assert figures("a") == {"a": {"Dice": 3.0}}, "the weights are newer"


def test_incomplete_figures_are_scored_again(record: Path, tmp_path: Path) -> None:
    def figures(value: dict[str, float]) -> dict[str, dict[str, float]]:
        return figures_by_folder(
            record,
            [tmp_path / "a"],
            lambda _: value,
            dict[str, float],
            is_complete=lambda kept: "ECE" in kept,
        )

    figures({"Dice": 0.5})
    assert flat(figures({"Dice": 0.6, "ECE": 0.1})) == {"Dice, a": 0.6, "ECE, a": 0.1}
    assert flat(figures({"Dice": 0.7, "ECE": 0.2}))["Dice, a"] == 0.6
