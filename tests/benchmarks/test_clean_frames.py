"""The ablation of the shipped recipe: arms, figures, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from benchmarks.studies import clean_frames
from distill.config import make_config
from edge.bundle.manifest import FrocPoint
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.evaluation.metrics import EvaluationReport

TINY = {"size": 64, "epochs": 1, "batch_size": 4, "pretrained": False, "student": "edge-xs"}


def point(peak: float, recall: float, flagged: float) -> FrocPoint:
    """A point of the curve."""
    return FrocPoint(
        min_peak=peak, overlapped=recall, matched=recall, false_regions=0.0, flagged=flagged
    )


def test_false_alarms_and_found_polyps_are_read_off_the_curve() -> None:
    curve = [point(0.0, 0.99, 0.4), point(0.5, 0.96, 0.2), point(0.8, 0.9, 0.04)]
    report = SimpleNamespace(dice=0.8, detection=SimpleNamespace(froc=curve))
    assert clean_frames.summarize(cast("EvaluationReport", report)) == {
        "Dice": 0.8,
        "clean frames flagged at 95% found": 0.2,
        "polyps found at 5% flagged": 0.9,
    }
    report.detection.froc = curve[2:]
    assert (
        clean_frames.summarize(cast("EvaluationReport", report))[
            "clean frames flagged at 95% found"
        ]
        == 1.0
    )


def test_every_arm_lacks_one_part_of_the_baseline() -> None:
    folders = {"data": ["x"], "negatives": ["n"], "unlabeled": ["u"]}
    configs = [
        make_config(folders | clean_frames.SHARED | arm) for arm in clean_frames.ARMS.values()
    ]
    assert all(config != configs[0] for config in configs[1:])


@pytest.mark.slow
def test_arms_are_scored_beside_clean_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "cache"))
    home, other = tmp_path / "home", tmp_path / "other"
    write_dataset(home, train=8, validation=3, negatives=6, seed=1, size=(72, 72))
    write_dataset(other, train=3, validation=2, negatives=0, seed=2, size=(72, 72))
    folder = home / "negatives" / "images"
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"s{number // 2}_{number}.png")
    settings = TINY | {"negatives": [str(folder)], "unlabeled": [str(other / "train" / "images")]}
    study = clean_frames.compare_parts(
        (home,),
        range(2),
        tmp_path / "runs",
        left_out=(other,),
        settings=settings,
        chosen=("no-balance",),
    )
    assert [row.recipe for row in study.rows] == ["all", "no-balance"]
    figure = study.rows[1].figures["clean frames flagged at 95% found, other"]
    assert all(0 <= value <= 1 for value in figure.values)
    assert study.shared["negatives"] == ["images"]
    with pytest.raises(UsageError, match="trained on and left out"):
        clean_frames.compare_parts(
            (home,), range(2), tmp_path / "runs", left_out=(home,), settings=settings
        )
