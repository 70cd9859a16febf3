"""Figures of a run's INT8 engine on data sets that it has not seen, beside those of FP32.

The student is calibrated on its training frames, exported, and executed as on a device. The figures
are kept in the run's folder.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from benchmarks.studies.kept_figures import figures_by_folder
from benchmarks.studies.left_out import left_out_pairs

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

    engine = cache(lambda: _engine(run))
    figures = figures_by_folder(
        run / RECORD,
        folders,
        lambda folder: score_engine(engine(), load_config(run), left_out_pairs(folder)).dice,
        float | None,
    )
    return {f"Dice INT8, {name}": dice for name, dice in figures.items() if dice is not None}


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
