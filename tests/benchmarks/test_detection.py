"""Evaluations of several bundles on the same frames, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import results_page, templates
from benchmarks.studies.detection import detection_study, flagged_at, main
from edge.bundle.manifest import FrocPoint
from edge.datasets.negatives import CleanFrame
from edge.datasets.pairs import find_pairs
from edge.errors import UsageError
from edge.evaluation.evaluator import evaluate, read_record
from edge.frame import OperatingPoint

if TYPE_CHECKING:
    from pathlib import Path


def point(overlapped: float | None, flagged: float | None) -> FrocPoint:
    return FrocPoint(
        min_peak=0.5, overlapped=overlapped, matched=overlapped, false_regions=0.0, flagged=flagged
    )


@pytest.mark.parametrize(
    ("share", "flagged"), [(0.98, 0.6), (0.95, 0.3), (0.9, 0.3), (0.5, 0.1), (1.0, None)]
)
def test_false_alarms_are_read_off_where_enough_polyps_are_found(
    share: float, flagged: float | None
) -> None:
    curve = [point(0.98, 0.6), point(0.96, 0.3), point(0.7, 0.1), point(None, 0.0)]
    assert flagged_at(curve, share) == flagged


@pytest.fixture
def records(tmp_path: Path) -> dict[str, Path]:
    """Two evaluations of the same frames: `low` flags a clean frame that `high` leaves alone."""
    for folder, count in (("images", 3), ("masks", 2)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(count):
            square = np.zeros((64, 64), np.uint8)
            if folder == "masks" or number < 2:
                square[16:48, 16:48] = 200
            else:
                square[16:48, 16:48] = 120
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), square)
    (tmp_path / "data" / "images" / "2.png").rename(tmp_path / "2.png")
    clean = [CleanFrame(tmp_path / "2.png", "clean", "s1")]
    paths = {}
    for name, peak in (("low", 0.0), ("high", 0.6)):
        report = evaluate(
            find_pairs(tmp_path / "data"),
            lambda image: image[..., 0],
            clean=clean,
            point=OperatingPoint(0.3, 0.001, peak),
        )
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_bytes(msgspec.json.encode(report))
    return paths


def test_the_record_holds_what_each_evaluation_flagged(
    records: dict[str, Path], tmp_path: Path
) -> None:
    arguments = [f"{name}={path}" for name, path in records.items()]
    files = ["--out", str(tmp_path / "record.json"), "--plot", str(tmp_path / "plot.svg")]
    result = CliRunner().invoke(
        main, [*arguments, "--title", "Both", *files], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    content = msgspec.json.decode((tmp_path / "record.json").read_bytes())
    assert results_page.kind_of(content) == "detection"
    low, high = content["detection_rows"]
    assert (low["images"], low["images_found"], low["clean"]) == (2, 2, 1)
    assert (low["flagged"], high["flagged"]) == (1, 0)
    page = templates.detection(content)
    assert "| low | 1.000 | 2 of 2 |" in page
    assert "| high | 0 of 1 |" in page
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")


def test_evaluations_of_other_frames_are_not_compared(records: dict[str, Path]) -> None:
    reports = {name: read_record(path) for name, path in records.items()}
    reports["high"] = msgspec.structs.replace(
        reports["high"], per_image=reports["high"].per_image[:2]
    )
    with pytest.raises(UsageError, match="other frames"):
        detection_study("Both", "", reports)
