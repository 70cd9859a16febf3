"""Figures of a run's INT8 engine on data sets that it has not seen, beside those of FP32.

The student is calibrated on its training frames, exported, and executed as on a device. The figures
are kept in the run's folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.studies.left_out import left_out_pairs
from edge.util.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quantize.export.engines import ExportedEngine

RECORD = "left-out-int8.json"
"""File of a run that keeps its figures by data set."""
CALIBRATION = 64
"""Training images that determine the ranges."""
RUNTIME = "openvino"


def int8_figures(run: Path, folders: Sequence[Path]) -> dict[str, float]:
    """Score the calibrated INT8 engine of a finished run on data sets that it has not seen.

    Args:
        run: Folder of the run.
        folders: The data sets.

    Returns:
        `Dice INT8, NAME` for each data set with a polyp.

    Raises:
        DataError: A data set cannot be used, or there are too few images to calibrate on.
        TrainingError: The run's checkpoint cannot be used, or its weights cannot be expressed.
    """
    from distill.run_folder import load_config
    from quantize.certify.accuracy import score_engine

    path, weights = run / RECORD, run / "checkpoints" / "best.pt"
    fresh = path.is_file() and path.stat().st_mtime_ns >= weights.stat().st_mtime_ns
    kept = msgspec.json.decode(path.read_bytes(), type=dict[str, float | None]) if fresh else {}
    engine = None
    for folder in folders:
        place = str(folder.resolve())
        if place not in kept:
            engine = engine or _engine(run)
            kept[place] = score_engine(engine, load_config(run), left_out_pairs(folder)).dice
            write_json(path, kept)
    found = {f"Dice INT8, {folder.name}": kept[str(folder.resolve())] for folder in folders}
    return {name: value for name, value in found.items() if value is not None}


def _engine(run: Path) -> ExportedEngine:
    from distill.data.load import open_data
    from distill.data.split_record import read_splits
    from distill.run_folder import load_run
    from quantize.export.engines import export_engines
    from quantize.graph.canonical import canonicalize
    from quantize.qat.nncf import quantize_student
    from quantize.runs.train import calibration_images

    loaded = load_run(run)
    data = open_data(
        loaded.config.changed(unlabeled=[], boxes=[]),
        with_teachers=False,
        recorded=read_splits(run / "splits.json"),
    )
    model = quantize_student(loaded.student, calibration_images(data, CALIBRATION))
    size = (loaded.config.data.size, loaded.config.data.size)
    engines = export_engines(canonicalize(model, size))
    return next(engine for engine in engines if engine.runtime == RUNTIME)
