"""`results.html` of a run: progress, curves, pictures, command and environment.

The page is written again after each epoch. It shows frames of the data, so it is readable by its
owner only, like the pictures `batch.jpg` and `worst.jpg` beside it.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import cv2
import msgspec

from distill.run_folder import read_environment
from distill.train.callbacks import RunCallback, RunContext
from edge.evaluation.page import read_metrics
from edge.reports.drawing import Chart, Scale
from edge.reports.html import render
from edge.util.files import PRIVATE_FILE, atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge.frame import ImageU8

PAGE = "results.html"
PICTURES = ("batch", "worst")
_REFRESH_S = 30
_KINDS = "abcde"
_LOSSES = ("loss", "task", "distill", "cwd", "consistency", "boxes", "distill_val")


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is.

    Attributes:
        state: `training`, `complete` or `stopped`.
        reason: Why it stopped.
        epoch: Completed epochs.
        epochs: Epochs that were asked for.
        images_per_second: Speed of the last epoch; None before the first one.
        minutes_left: Estimate from the epochs so far; None before the first one.
    """

    state: str
    reason: str = ""
    epoch: int = 0
    epochs: int = 0
    images_per_second: float | None = None
    minutes_left: float | None = None


class RunPage(RunCallback):
    """Keeps `results.html` and its pictures up to date."""

    def __init__(self) -> None:
        self._context: RunContext | None = None
        self._last: Mapping[str, float] = {}

    def begin(self, context: RunContext) -> None:
        """Write the page of a training that has begun."""
        self._context = context
        self._write("training")

    def picture(self, name: str, image: ImageU8) -> None:
        """Write a picture beside the page."""
        assert self._context is not None
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        atomic_write(self._context.path / f"{name}.jpg", data, mode=PRIVATE_FILE)
        if name == "batch":
            self._write("training")

    def epoch(self, row: Mapping[str, float]) -> None:
        """Write the page with one more epoch."""
        self._last = row
        self._write("training")

    def end(self, best: Mapping[str, float]) -> None:  # noqa: ARG002 - a callback's signature
        """Write the page of a complete training."""
        self._write("complete")

    def fail(self, reason: str) -> None:
        """Write the page of a training that stopped."""
        self._write("stopped", reason)

    def _write(self, state: str, reason: str = "") -> None:
        assert self._context is not None
        path, config, _ = self._context
        rows = read_metrics(path)
        done, epochs = len(rows), config.run.epochs
        seconds = rows[-1].get("seconds") if rows else None
        left = None if seconds is None else seconds / done * (epochs - done) / 60
        progress = RunProgress(
            state=state,
            reason=reason,
            epoch=done,
            epochs=epochs,
            images_per_second=self._last.get("images_per_second"),
            minutes_left=left if state == "training" else None,
        )
        atomic_write(path / PAGE, run_page(path, progress, rows, config.flat()), mode=PRIVATE_FILE)


def run_page(
    run: Path,
    progress: RunProgress,
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> str:
    """Render the page as one self-contained HTML file.

    Args:
        run: Folder of the run, with its environment and pictures.
        progress: How far the training is.
        rows: The lines of `metrics.jsonl`.
        settings: The configuration by flat keys.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    best = max(rows, key=lambda row: row["score"], default=None)
    return render(
        "run.html.j2",
        name=run.name,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        progress=progress,
        refresh=_REFRESH_S if progress.state == "training" else None,
        best=best,
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


def curves(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], best: Mapping[str, Any] | None = None
) -> str:
    """Draw figures over the epochs, with the best epoch; empty if no row has one of them."""
    found = _found(rows, names)
    if not found:
        return ""
    values = [row[name] for name in found for row in rows if name in row]
    last = max(row["epoch"] for row in rows)
    y = Scale(0.0, 1.0) if max(values) <= 1 and min(values) >= 0 else Scale.over([0.0, *values])
    chart = Chart(Scale(0.0, max(2.0, last)), y, x_label="epoch", width=480, height=240, left=52)
    if best is not None:
        chart.line([(best["epoch"], y.low), (best["epoch"], y.high)], "front")
    for name, kind in zip(found, _KINDS, strict=False):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        chart.line(points, kind)
        chart.dots(points, kind)
    return chart.svg(f"{', '.join(found)} over the epochs")


def _legend(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    return dict(zip(_found(rows, names), _KINDS, strict=False))


def _found(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    return [name for name in names if any(name in row for row in rows)][: len(_KINDS)]


def _url(path: Path) -> str:
    """Return a picture as a data URL; empty if it does not exist."""
    if not path.is_file():
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
