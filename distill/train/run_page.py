"""`results.html` of a run: progress, stages, curves, pictures, command and environment.

The page is written again after each epoch. It shows frames of the data, so it is readable by its
owner only, like the pictures `batch.jpg` and `worst.jpg` beside it.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import cv2

from distill.config import read_config_file
from distill.run_folder import read_environment
from distill.run_progress import (
    COMPLETE,
    PROGRESS,
    STOPPED,
    TRAINING,
    RunProgress,
    read_progress,
    true_progress,
)
from distill.train.callbacks import RunCallback, RunContext
from edge.evaluation.page import read_metrics
from edge.reports.drawing import Chart, Scale
from edge.reports.html import render
from edge.util.files import PRIVATE_FILE, atomic_write, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge.frame import ImageU8

PAGE = "results.html"
PICTURES = ("batch", "worst")
_REFRESH_S = 30
_KINDS = "abcde"
_LOSSES = ("loss", "task", "distill", "cwd", "consistency", "boxes", "distill_val")


class RunPage(RunCallback):
    """Keeps `results.html` and its pictures up to date."""

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._last: Mapping[str, float] = {}
        self._begin = 0.0

    def begin(self, context: RunContext) -> None:
        """Write the page of a training that has begun."""
        self._context, self._begin = context, time.monotonic()
        self._write(TRAINING)

    def picture(self, name: str, image: ImageU8) -> None:
        """Write a picture beside the page."""
        assert self._context is not None
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        atomic_write(self._context.path / f"{name}.jpg", data, mode=PRIVATE_FILE)
        if name == "batch":
            self._write(TRAINING)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Write the page with one more epoch."""
        self._last = row
        self._write(TRAINING)

    def end(self, best: Mapping[str, float]) -> None:  # noqa: ARG002 - a callback's signature
        """Write the page of a complete training."""
        self._write(COMPLETE)

    def fail(self, reason: str) -> None:
        """Write the page of a training that stopped."""
        self._write(STOPPED, reason)

    def _write(self, state: str, reason: str = "") -> None:
        assert self._context is not None
        path, subject, settings, epochs, before = self._context
        done = int(self._last.get("epoch", before))
        left = None
        if state == TRAINING and done > before:
            left = (time.monotonic() - self._begin) / (done - before) * (epochs - done) / 60
        progress = RunProgress(
            state=state,
            subject=subject,
            reason=reason,
            epoch=done,
            epochs=epochs,
            images_per_second=self._last.get("images_per_second"),
            minutes_left=left,
        )
        write_page(path, progress, settings)


def write_page(run: Path, progress: RunProgress, settings: Mapping[str, Any]) -> None:
    """Write `progress.json` and `results.html` of a run.

    Args:
        run: Folder of the run.
        progress: How far it is.
        settings: The configuration by flat keys.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    write_json(run / PROGRESS, progress)
    atomic_write(run / PAGE, run_page(run, progress, settings), mode=PRIVATE_FILE)


def mark_stopped(folder: Path) -> bool:
    """Write the page of a folder whose writer was killed; False if it was not.

    Raises:
        MissingDependencyError: jinja2 is not installed.
        UsageError: The settings of the run cannot be read.
    """
    recorded, true = read_progress(folder), true_progress(folder)
    if recorded is None or true is None or recorded.state == true.state:
        return False
    write_page(folder, true, read_config_file(folder / "resolved.yaml"))
    return True


def run_page(run: Path, progress: RunProgress, settings: Mapping[str, Any]) -> str:
    """Render the page as one self-contained HTML file.

    Args:
        run: Folder of the run, with its figures, environment, pictures and stages.
        progress: How far the training is.
        settings: The configuration by flat keys.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    rows, stages = _figures(run, progress)
    best = progress.best or max(rows, key=lambda row: row["score"], default=None)
    return render(
        "run.html.j2",
        name=run.name,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        progress=progress,
        refresh=_REFRESH_S if progress.state == TRAINING else None,
        best=None if progress.stages and not progress.best else best,
        stages=stages,
        curves={
            "validation": curves(rows, ("dice_val", "iou_val", "flagged_val"), best),
            "losses": curves(rows, _LOSSES, best),
        },
        legends={
            "validation": _legend(rows, ("dice_val", "iou_val", "flagged_val")),
            "losses": _legend(rows, _LOSSES),
        },
        pictures={name: _url(run / f"{name}.jpg") for name in PICTURES},
        environment=read_environment(run),
        settings=settings,
    )


def _figures(run: Path, progress: RunProgress) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the epochs of a run, counted through all stages, and a row for each stage."""
    if not progress.stages:
        return read_metrics(run), []
    rows: list[dict[str, Any]] = []
    stages = []
    for name in progress.stages:
        path = run / "stages" / name
        state, own = read_progress(path), read_metrics(path)
        best = max(own, key=lambda row: row["score"], default={})
        stages.append(
            {
                "name": name,
                "state": state.state if state else "waiting",
                "done": state.epoch if state else 0,
                "of": state.epochs if state else None,
                "best": best.get("epoch"),
                "dice": best.get("dice_val"),
                "page": f"stages/{name}/{PAGE}" if state else "",
            }
        )
        before = rows[-1]["epoch"] if rows else 0
        rows += [{**row, "epoch": before + row["epoch"]} for row in own]
    return rows, stages


def curves(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], best: Mapping[str, Any] | None = None
) -> str:
    """Draw figures over the epochs, with the best epoch; empty if no row has one of them."""
    available = _available(rows, names)
    if not available:
        return ""
    values = [row[name] for name in available for row in rows if name in row]
    last = max(row["epoch"] for row in rows)
    y = Scale(0.0, 1.0) if max(values) <= 1 and min(values) >= 0 else Scale.over([0.0, *values])
    chart = Chart(Scale(0.0, max(2.0, last)), y, x_label="epoch", width=480, height=240, left=52)
    if best is not None:
        chart.line([(best["epoch"], y.low), (best["epoch"], y.high)], "front")
    for name, kind in zip(available, _KINDS, strict=False):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        chart.line(points, kind)
        chart.dots(points, kind)
    return chart.svg(f"{', '.join(available)} over the epochs")


def _legend(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    return dict(zip(_available(rows, names), _KINDS, strict=False))


def _available(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    return [name for name in names if any(name in row for row in rows)][: len(_KINDS)]


def _url(path: Path) -> str:
    """Return a picture as a data URL; empty if it does not exist."""
    if not path.is_file():
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
