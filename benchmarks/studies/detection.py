"""Compare evaluations of several bundles on the same frames: polyps found beside false alarms.

Each evaluation is a record of `edge-difom evaluate --json` on frames with and without polyps. The
result is one record for `benchmarks/results`, and on request a plot of the FROC curves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge.bundle.manifest import FrocPoint  # noqa: TC001 - read at run time
from edge.errors import UsageError
from edge.evaluation.detection import Detection  # noqa: TC001 - read at run time
from edge.evaluation.evaluator import read_record
from edge.reports.plots import froc_curves
from edge.util.files import atomic_write, write_json
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from edge.evaluation.metrics import EvaluationReport

SHARES = (0.98, 0.97, 0.95, 0.92, 0.90)
"""Shares of the polyps found at which the false alarms are compared."""
_CALL = "python -m benchmarks.studies.detection"


class SetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One data set: mean Dice of its frames with a polyp, and counts of frames."""

    name: str
    frames: int
    dice: float | None
    clean: int
    flagged: int


class DetectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation.

    Attributes:
        name: What was evaluated.
        images: Frames with a polyp.
        images_found: Those of them on which a region overlaps a polyp, at the operating point.
        clean: Frames without a polyp.
        flagged: Those of them with a region, at the operating point.
        flagged_ci95: 95 % interval of that share, clustered by sequence; None with one sequence.
        sequences: Dataset and sequence of the clean frames -> (flagged, frames).
        sets: Figures of each data set.
        flagged_at: Share of the polyps found -> smallest share of clean frames flagged at it; None
            if no minimum peak finds so many.
        froc: The FROC curve over the minimum peak, at the bundle's threshold.
    """

    name: str
    images: int
    images_found: int
    clean: int
    flagged: int
    flagged_ci95: tuple[float, float] | None
    sequences: dict[str, tuple[int, int]]
    sets: list[SetRow]
    flagged_at: dict[str, float | None]
    froc: list[FrocPoint]


class DetectionStudy(msgspec.Struct, frozen=True, kw_only=True):
    """Evaluations of several bundles on the same frames."""

    title: str
    note: str
    detection_rows: list[DetectionRow]


def detection_study(title: str, note: str, reports: dict[str, EvaluationReport]) -> DetectionStudy:
    """Compare evaluations.

    Args:
        title: What the record is about.
        note: Prose for the page of results.
        reports: Name -> evaluation; all of the same frames, with and without polyps.

    Raises:
        UsageError: The evaluations differ in their frames, or lack polyps or clean frames.
    """
    rows = []
    frames: list[str] | None = None
    for name, report in reports.items():
        own = sorted(row.name for row in report.per_image)
        if frames is not None and own != frames:
            raise UsageError(
                f"{name} was evaluated on other frames", expected="the same frames for each record"
            )
        frames = own
        assert report.detection is not None
        if not report.detection.polyps.n or not report.detection.clean.n:
            raise UsageError(f"{name} lacks frames with polyps or clean frames")
        rows.append(_row(name, report, report.detection))
    return DetectionStudy(title=title, note=note, detection_rows=rows)


def _row(name: str, report: EvaluationReport, detection: Detection) -> DetectionRow:
    return DetectionRow(
        name=name,
        images=detection.images.n,
        images_found=detection.images.overlapped,
        clean=detection.clean.n,
        flagged=detection.clean.flagged,
        flagged_ci95=detection.clean.clustered_ci95,
        sequences={
            key: (counts.flagged, counts.clean)
            for key, counts in detection.by_sequence.items()
            if counts.clean
        },
        sets=[
            SetRow(
                name=key,
                frames=counts.frames,
                dice=_mean_dice(report, key),
                clean=counts.clean,
                flagged=counts.flagged,
            )
            for key, counts in detection.by_set.items()
        ],
        flagged_at={f"{share:g}": flagged_at(detection.froc, share) for share in SHARES},
        froc=detection.froc,
    )


def _mean_dice(report: EvaluationReport, dataset: str) -> float | None:
    values = [
        row.dice for row in report.per_image if row.dataset == dataset and row.dice is not None
    ]
    return sum(values) / len(values) if values else None


def flagged_at(froc: list[FrocPoint], share: float) -> float | None:
    """The smallest share of clean frames flagged where at least `share` of the polyps is found."""
    reached = [
        point.flagged
        for point in froc
        if point.flagged is not None and point.overlapped is not None and point.overlapped >= share
    ]
    return min(reached, default=None)


@click.command(
    epilog=console.examples(f"{_CALL} before=a.json now=b.json --title Edge --out RECORD.json")
)
@click.argument("records", nargs=-1, required=True, metavar="NAME=FILE...")
@click.option("--title", required=True, help="What the record is about.")
@click.option("--note", default="", help="Prose for the page of results.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Record to write.")
@click.option("--plot", type=click.Path(path_type=Path), help="Plot to write, as SVG.")
def main(records: tuple[str, ...], title: str, note: str, out: Path, plot: Path | None) -> None:
    """Compare evaluations of bundles on the same frames."""
    reports = {}
    for record in records:
        name, equals, path = record.partition("=")
        if not equals:
            raise UsageError(f"{record} has no name", expected="NAME=FILE")
        reports[name] = read_record(Path(path))
    study = detection_study(title, note, reports)
    if plot is not None:
        detections = {
            name: report.detection for name, report in reports.items() if report.detection
        }
        atomic_write(plot, froc_curves(detections, "flagged"))
        console.made(plot)
    write_json(out, study)
    console.made(out)


if __name__ == "__main__":
    run_program(main)
