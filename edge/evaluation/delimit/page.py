"""The HTML page of detect-then-delimit: lost Dice by its causes, and the frames behind it."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

import cv2

from edge.evaluation.gallery import fit_width, jpeg_url, outlined
from edge.reports import plots
from edge.reports.html import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.evaluation.delimit.base import Proposal
    from edge.evaluation.delimit.judge import FrameOutcome, Loss
    from edge.evaluation.delimit.run import DelimitReport
    from edge.frame import ImageU8, MaskBool

CAUSES = {"missed": "missed polyps", "false": "false objects", "drawn": "badly drawn"}
"""Field of `Loss` -> heading."""
_MAX_ENTRIES = 4
_BOX = (255, 255, 255)
_COLORS = {"missed": "#c1440e", "false": "#b06f00", "drawn": "#0b79b0"}


class WorstFrame(NamedTuple):
    """A frame on the page: its figures, and the drawing as a data URL."""

    row: FrameOutcome
    url: str


class CauseGallery:
    """Collects the frames with the largest loss by each cause; pass `add` as `seen`."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[float, int, WorstFrame]]] = {
            cause: [] for cause in CAUSES
        }
        self._count = 0

    def add(
        self,
        row: FrameOutcome,
        image: ImageU8,
        true: MaskBool,
        predicted: MaskBool,
        proposals: Sequence[Proposal],
    ) -> None:
        """Keep the frame if one of its causes is among the largest.

        Args:
            row: Figures of the frame.
            image: (H, W, 3) uint8 RGB.
            true: (H, W) bool.
            predicted: (H, W) bool.
            proposals: The detector's boxes.
        """
        self._count += 1
        places = []
        for cause, entries in self._entries.items():
            size = _size(row, cause)
            if size > 0 and (len(entries) < _MAX_ENTRIES or -size < entries[-1][0]):
                places.append((entries, -size))
        if not places:
            return
        small = fit_width(_with_boxes(image, proposals))
        picture = WorstFrame(row, jpeg_url(outlined(small, true, predicted)))
        for entries, rank in places:
            insort(entries, (rank, self._count, picture), key=lambda item: item[:2])
            del entries[_MAX_ENTRIES:]

    def frames(self, cause: str) -> list[WorstFrame]:
        """Return the frames of one of `CAUSES`, the largest loss first."""
        return [picture for _, _, picture in self._entries[cause]]


def delimit_page(report: DelimitReport, gallery: CauseGallery, *, data: str) -> str:
    """Render the page as one self-contained HTML file.

    Args:
        report: The figures.
        gallery: The frames to show.
        data: Name of the data, for the heading.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    return render(
        "delimit.html.j2",
        report=report,
        data=data,
        causes=CAUSES,
        frames={cause: gallery.frames(cause) for cause in CAUSES},
        bars=loss_bars(report),
    )


def loss_bars(report: DelimitReport) -> str:
    """Draw the causes of 1 - Dice, of all frames and by size, as SVG; empty without polyps."""
    groups: list[tuple[str, Loss]] = []
    for name, outcome in (("all", report.polyps), *report.by_size.items()):
        if outcome.loss is not None:
            groups.append((f"{name}, {outcome.frames}", outcome.loss))
    if not groups:
        return ""
    plot = plots.Plot()
    begin = [0.0] * len(groups)
    labels = [label for label, _ in groups]
    for cause, heading in CAUSES.items():
        values = [getattr(loss, cause) for _, loss in groups]
        plot.axes.barh(labels, values, left=begin, color=_COLORS[cause], label=heading)
        begin = [start + value for start, value in zip(begin, values, strict=True)]
    plot.axes.invert_yaxis()
    plot.axes.set_xlabel("1 - Dice, mean over frames")
    plot.axes.set_ylabel("frames by polyp size")
    plot.axes.legend()
    return plot.svg()


def _size(row: FrameOutcome, cause: str) -> float:
    """What a frame lost by a cause; false objects of a frame without a polyp by their area."""
    if row.loss is not None:
        return float(getattr(row.loss, cause))
    return row.area_found if cause == "false" else 0.0


def _with_boxes(image: ImageU8, proposals: Sequence[Proposal]) -> ImageU8:
    canvas: ImageU8 = image.copy()
    width = max(1, round(max(image.shape[:2]) / 300))
    for x, y, across, down in (item.box for item in proposals):
        cv2.rectangle(canvas, (x, y), (x + across - 1, y + down - 1), _BOX, width)
    return canvas
