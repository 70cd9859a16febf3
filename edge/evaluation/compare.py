"""Compare two evaluations of the same images: paired differences, intervals and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edge.errors import DataError
from edge.evaluation.paired import paired_difference
from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.evaluation.metrics import EvaluationReport, ImageScore

WORST = 5
"""Number of images with the largest losses that are named."""

Verdict = Literal["better", "worse", "no difference shown"]


class PairedFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both evaluations on the images that they share.

    Attributes:
        name: `dice`, `iou`, or `flagged` (share of the clean frames that are flagged).
        n: Number of images.
        left: Mean of the first evaluation.
        right: Mean of the second evaluation.
        difference: `right - left`.
        ci95: Bootstrap 95 % interval of the difference over images.
        verdict: Whether the second evaluation is better, by the interval alone.
    """

    name: str
    n: int
    left: float
    right: float
    difference: float
    ci95: tuple[float, float]
    verdict: Verdict


class ImageChange(msgspec.Struct, frozen=True, kw_only=True):
    """An image on which the second evaluation has less Dice."""

    name: str
    left: float
    right: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two evaluations of the same images.

    Attributes:
        left: What the first record is of; None in records of older versions.
        right: What the second record is of; None likewise.
        figures: The paired figures; Dice comes first if an image has a polyp.
        verdict: `worse` if one figure is worse, `better` if one is better and none is worse.
        worst: The images that lost most.
        only_left: Number of images that only the first evaluation has.
        only_right: Number of images that only the second evaluation has.
        notes: What a reader of the figures must know.
    """

    left: RecordHeader | None
    right: RecordHeader | None
    figures: list[PairedFigure]
    verdict: Verdict
    worst: list[ImageChange]
    only_left: int
    only_right: int
    notes: list[str]


def compare_evaluations(left: EvaluationReport, right: EvaluationReport) -> Comparison:
    """Compare two evaluations image by image; images are paired by data set and name.

    Raises:
        DataError: They share no image, or an image name is not unique.
    """
    one, other = _rows(left), _rows(right)
    shared = [name for name in one if name in other]
    if not shared:
        raise DataError(
            "the evaluations share no image",
            expected="records of the same images",
            got=f"{_some(one)} and {_some(other)}",
            hint="evaluate both on the same data",
        )
    pairs = [(one[name], other[name]) for name in shared]
    clean = [(a, b) for a, b in pairs if a.dice is None and b.dice is None]
    figures = [
        figure
        for figure in (
            _figure("dice", [(a.dice, b.dice) for a, b in pairs]),
            _figure("iou", [(a.iou, b.iou) for a, b in pairs]),
            _figure(
                "flagged",
                [(float(a.flagged), float(b.flagged)) for a, b in clean],
                less_is_better=True,
            ),
        )
        if figure is not None
    ]
    verdicts = {figure.verdict for figure in figures}
    verdict: Verdict = "no difference shown"
    if verdicts & {"better", "worse"}:
        verdict = "worse" if "worse" in verdicts else "better"
    return Comparison(
        left=left.header,
        right=right.header,
        figures=figures,
        verdict=verdict,
        worst=_worst(pairs),
        only_left=len(one) - len(shared),
        only_right=len(other) - len(shared),
        notes=_notes(left, right, pairs),
    )


def _rows(report: EvaluationReport) -> dict[str, ImageScore]:
    rows: dict[str, ImageScore] = {}
    for row in report.per_image:
        begins = not row.dataset or row.name.startswith(f"{row.dataset}/")
        name = row.name if begins else f"{row.dataset}/{row.name}"
        if name in rows:
            raise DataError(f"two images of an evaluation are called {name}", expected="one each")
        rows[name] = row
    return rows


def _figure(
    name: str, values: Sequence[tuple[float | None, float | None]], *, less_is_better: bool = False
) -> PairedFigure | None:
    """Compare one figure; None if no image has it in both evaluations."""
    rows = [(a, b) for a, b in values if a is not None and b is not None]
    if not rows:
        return None
    left, right = [a for a, _ in rows], [b for _, b in rows]
    difference = paired_difference(left, right)
    verdict: Verdict = "no difference shown"
    if difference.low > 0 or difference.high < 0:
        verdict = "better" if (difference.mean > 0) != less_is_better else "worse"
    return PairedFigure(
        name=name,
        n=difference.n,
        left=sum(left) / difference.n,
        right=sum(right) / difference.n,
        difference=difference.mean,
        ci95=(difference.low, difference.high),
        verdict=verdict,
    )


def _worst(pairs: Sequence[tuple[ImageScore, ImageScore]]) -> list[ImageChange]:
    changes = [
        ImageChange(name=a.name, left=a.dice, right=b.dice)
        for a, b in pairs
        if a.dice is not None and b.dice is not None and b.dice < a.dice
    ]
    return sorted(changes, key=lambda change: change.right - change.left)[:WORST]


def _notes(
    left: EvaluationReport,
    right: EvaluationReport,
    pairs: Sequence[tuple[ImageScore, ImageScore]],
) -> list[str]:
    notes = []
    changed = sum(abs(a.area_true - b.area_true) > 1e-9 for a, b in pairs)
    if changed:
        notes.append(f"the true masks of {changed} images differ between the records")
    digests = [report.header and report.header.data_digest for report in (left, right)]
    if all(digests) and digests[0] != digests[1]:
        notes.append("the data differ: their digests are not equal")
    return notes


def _some(rows: dict[str, ImageScore]) -> str:
    names = list(rows)
    return ", ".join(names[:2]) + (" ..." if len(names) > 2 else "") or "no image"
