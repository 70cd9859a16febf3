"""The HTML page of an evaluation: figures of both protocols, plots, and best and worst frames."""

from __future__ import annotations

import base64
import re
from bisect import insort
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import msgspec
import numpy as np

from edge.errors import DataError
from edge.evaluation.intervals import bootstrap_ci
from edge.evaluation.metrics import SIZES, EvaluationReport, size_of
from edge.reports import plots
from edge.reports.html import render
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.evaluation.detection import GroupCounts
    from edge.evaluation.metrics import ImageScore
    from edge.frame import ImageU8, MaskBool

_KEPT = 4
_WIDTH = 440
_BINS = 20
_TRUE, _FOUND = (64, 200, 255), (255, 176, 0)
"""RGB of the contours; color-blind readers can distinguish blue and orange."""

_FIGURES = (
    ("mean Dice", "mean_dice", "dice"),
    ("max Dice", "max_dice", None),
    ("mean IoU", "mean_iou", "iou"),
    ("max IoU", "max_iou", None),
    ("weighted F", "weighted_f", None),
    ("S-measure", "s_measure", None),
    ("mean E", "mean_e", None),
    ("max E", "max_e", None),
    ("MAE (smaller is better)", "mae", None),
)


class Drawing(NamedTuple):
    """A further drawing of a frame: its caption, and a map (h, w), 0 to 1."""

    caption: str
    map: NDArray[np.float32]


class Picture(NamedTuple):
    """A frame on the page.

    Attributes:
        row: Its row.
        url: The drawing as a data URL.
        further: Captions and data URLs of further drawings.
    """

    row: ImageScore
    url: str
    further: tuple[tuple[str, str], ...] = ()


class Gallery:
    """Collects the frames to show during an evaluation; pass `add` as its `seen`.

    Args:
        further: Draws what else a frame shows, from (H, W, 3) uint8 RGB; None draws nothing.
    """

    def __init__(self, further: Callable[[ImageU8], list[Drawing]] | None = None) -> None:
        self._further = further
        self._kept: dict[str, list[tuple[float, Picture]]] = {"best": [], "worst": [], "alarms": []}

    def add(self, row: ImageScore, image: ImageU8, true: MaskBool, found: MaskBool) -> None:
        """Keep the frame if it is among the best, the worst or the false alarms.

        Args:
            row: Figures of the frame.
            image: (H, W, 3) uint8 RGB.
            true: (H, W) bool.
            found: (H, W) bool.
        """
        if row.dice is not None:
            ranks = {"best": -row.dice, "worst": row.dice}
        else:
            ranks = {"alarms": -row.area_found} if row.flagged else {}
        places = [
            (self._kept[kind], rank)
            for kind, rank in ranks.items()
            if len(self._kept[kind]) < _KEPT or rank < self._kept[kind][-1][0]
        ]
        if places:
            further = [] if self._further is None else self._further(image)
            picture = Picture(
                row,
                jpeg_url(draw_outlines(image, true, found)),
                tuple((drawing.caption, _map_url(drawing.map)) for drawing in further),
            )
            for kept, rank in places:
                insort(kept, (rank, picture), key=lambda item: item[0])
                del kept[_KEPT:]

    @property
    def worst(self) -> list[Picture]:
        """Return the frames with the lowest Dice, the lowest first."""
        return [picture for _, picture in self._kept["worst"]]

    @property
    def best(self) -> list[Picture]:
        """Return the frames with the highest Dice, the highest first, without the worst ones."""
        return [picture for _, picture in self._kept["best"] if picture not in self.worst]

    @property
    def alarms(self) -> list[Picture]:
        """Return flagged polyp-free frames, the largest predicted area first."""
        return [picture for _, picture in self._kept["alarms"]]


def require_extras() -> None:
    """Check the packages that the page needs before the evaluation starts.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    resolve("jinja2:Environment")
    resolve("matplotlib.figure:Figure")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read a run's `metrics.jsonl`, one row per epoch; empty if the file does not exist.

    Raises:
        DataError: The file is not one JSON object per line.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return msgspec.json.Decoder(dict[str, Any]).decode_lines(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read", expected="one JSON object per line", got=str(error)
        ) from error


def evaluation_page(
    report: EvaluationReport,
    gallery: Gallery,
    *,
    subject: str,
    data: str,
    metrics: Sequence[Mapping[str, Any]] = (),
    compare: tuple[str, EvaluationReport] | None = None,
) -> str:
    """Render the page as one self-contained HTML file.

    Args:
        report: The figures.
        gallery: The frames to show.
        subject: Name of the evaluated model, for the heading.
        data: Name of the data, for the heading.
        metrics: Rows of a run's `metrics.jsonl`.
        compare: Name and report of an earlier evaluation; its FROC curve is drawn too.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    curves = [row for row in metrics if {"epoch", "dice_val"} <= row.keys()]
    quality = fit_curves(curves)
    return render(
        "evaluation.html.j2",
        report=report,
        gallery=gallery,
        subject=subject,
        data=data,
        figures=_rows(report),
        sizes=_size_names(),
        froc=_froc(report, compare),
        sequences=_clean_sequences(report),
        strengths={row.shift: row.means for row in report.shifts.rows} if report.shifts else {},
        distribution=dice_histogram(report.per_image),
        curve=plots.training_curve(curves) if curves else "",
        quality=quality,
    )


def dice_histogram(rows: Sequence[ImageScore]) -> str:
    """Draw a histogram of Dice by polyp size, as SVG; empty if no image has a polyp."""
    columns = {
        name: [row.dice for row in rows if row.dice is not None and size_of(row.area_true) == name]
        for name in SIZES
    }
    if not any(columns.values()):
        return ""
    plot = plots.Plot()
    edges = np.linspace(0, 1, _BINS + 1)
    bottom = np.zeros(_BINS)
    for name, values in columns.items():
        if not values:
            continue
        counts = np.histogram(values, bins=edges)[0]
        plot.axes.bar(
            edges[:-1],
            counts,
            width=1 / _BINS,
            align="edge",
            bottom=bottom,
            label=f"{name}, {len(values)}",
        )
        bottom += counts
    plot.axes.set_xlim(0, 1)
    plot.axes.set_xlabel("Dice of an image, protocol B")
    plot.axes.set_ylabel("images")
    plot.axes.legend(loc="upper left")
    return plot.svg()


def fit_curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Draw R^2 per teacher and band over the epochs, as SVG; empty if the run has no R^2.

    Args:
        metrics: Rows; each key that contains the word `r2` is a curve.
    """
    keys = sorted(
        {key for row in metrics for key in row if "r2" in re.split(r"[^a-z0-9]+|_", key.lower())}
    )
    if not keys:
        return ""
    plot = plots.Plot()
    for key in keys:
        points = [
            (row["epoch"] + 1, row[key]) for row in metrics if isinstance(row.get(key), int | float)
        ]
        plot.axes.plot([x for x, _ in points], [y for _, y in points], ".-", label=key)
    plot.axes.axhline(0, color="0.5", linewidth=0.8)
    plot.axes.set_xlabel("epoch")
    plot.axes.set_ylabel("R² of the teacher's bands")
    plot.axes.legend()
    return plot.svg()


def _froc(report: EvaluationReport, compare: tuple[str, EvaluationReport] | None) -> list[str]:
    """Draw the FROC curves over false regions and over flagged clean frames, if possible."""
    curves = {"this evaluation": report.detection} | (
        {compare[0]: compare[1].detection} if compare else {}
    )
    held = {label: detection for label, detection in curves.items() if detection is not None}
    drawn = (
        [plots.froc_curves(held, "false_regions"), plots.froc_curves(held, "flagged")]
        if held
        else []
    )
    return [curve for curve in drawn if curve]


def _clean_sequences(report: EvaluationReport) -> list[tuple[str, GroupCounts]]:
    """Return the sequences with clean frames, those with the most flagged frames first."""
    groups = report.detection.by_sequence.items() if report.detection else ()
    return sorted(
        ((name, group) for name, group in groups if group.clean),
        key=lambda item: (-item[1].flagged, item[0]),
    )


def _rows(report: EvaluationReport) -> list[dict[str, Any]]:
    """Return one row per measure: protocol A, and protocol B if it has that measure."""
    field = report.protocol_a
    iou = [row.iou for row in report.per_image if row.iou is not None]
    intervals = {"dice": report.dice_ci95, "iou": bootstrap_ci(iou) if iou else None}
    return [
        {
            "label": label,
            "a": getattr(field, name) if field else None,
            "a_ci95": field.ci95.get(name) if field else None,
            "b": getattr(report, ours) if ours else None,
            "b_ci95": intervals[ours] if ours else None,
        }
        for label, name, ours in _FIGURES
        if field or ours
    ]


def _size_names() -> dict[str, str]:
    """Return size -> name with its bounds."""
    names, low = {}, 0.0
    for name, bound in SIZES.items():
        over = f"{100 * low:g} % or more" if low else ""
        under = f"under {100 * bound:g} %" if bound < 1 else ""
        names[name] = f"{name}: {', '.join(filter(None, (over, under)))}"
        low = bound
    return names


def draw_outlines(image: ImageU8, true: MaskBool, found: MaskBool) -> ImageU8:
    """Draw the outlines of both masks on the frame at the page's width, BGR."""
    height, width = true.shape
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    canvas = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if width > _WIDTH else cv2.INTER_LINEAR
    )
    for mask, colour in ((true, _TRUE), (found, _FOUND)):
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (0, 0, 0), 4)
        cv2.drawContours(canvas, outlines, -1, colour, 2)
    bgr: ImageU8 = cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)
    return bgr


def _map_url(values: NDArray[np.float32]) -> str:
    """A map (h, w), 0 to 1, as a data URL of a gray picture at half of the page's width."""
    height, width = values.shape
    size = (_WIDTH // 2, max(1, round(height * _WIDTH / 2 / width)))
    gray = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    large = cv2.resize(gray, size, interpolation=cv2.INTER_NEAREST)
    return jpeg_url(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR))


def jpeg_url(picture: ImageU8) -> str:
    """A BGR picture (H, W, 3) as a data URL of a JPEG file."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
