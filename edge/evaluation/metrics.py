"""Protocol B: Dice and IoU per image at native mask size, of the mask that the device shows.

The mask has the pixels of the regions that threshold, minimum region and minimum peak keep. The
record of an evaluation can also hold the field's protocol A (`edge.evaluation.protocol_a`). Images
without a polyp have no Dice: they are counted separately, with how many of them were flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import DataError
from edge.evaluation.confidence import ConfidenceReport  # noqa: TC001 - msgspec reads annotations
from edge.evaluation.detection import Detection, FrameFindings, summarize_detection
from edge.evaluation.findings import Findings  # noqa: TC001 - msgspec reads annotations
from edge.evaluation.intervals import bootstrap_ci, wilson
from edge.evaluation.threshold_curve import ThresholdPoint  # noqa: TC001 - msgspec reads it
from edge.frame import DEFAULT_OPERATING_POINT, OperatingPoint
from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import MaskBool

SIZES = {"small": 0.01, "medium": 0.1, "large": 1.0}
"""Polyp size -> upper limit of the share of the image that the true mask covers; first match.

The diameter of a disc that covers 10 % of a square image is 0.36 of its side; for 1 % it is 0.11.
"""


class ImageScore(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one image.

    Attributes:
        name: Name of the pair.
        dice: Dice; None if the true mask is empty.
        iou: IoU; None if the true mask is empty.
        area_true: Share of the image that the true mask covers.
        area_found: Share of the image that the kept regions cover.
        flagged: Whether a region of at least 0.1 % of the image is left after threshold and
            postprocessing.
        dataset: Name of the data set that the image comes from.
        sequence: Name of its video sequence inside the data set.
        findings: Its polyps and regions; None if only the mask was compared.
    """

    name: str
    dice: float | None
    iou: float | None
    area_true: float
    area_found: float
    flagged: bool
    dataset: str = ""
    sequence: str = ""
    findings: Findings | None = None


class Negatives(msgspec.Struct, frozen=True, kw_only=True):
    """Images without a polyp, and how many of them were flagged.

    Attributes:
        n: Number of images.
        flagged: Images with a region of at least 0.1 % of the image.
        ci95: Wilson 95 % interval of the share of flagged images; None without images.
    """

    n: int
    flagged: int
    ci95: tuple[float, float] | None = None


def count_flagged(flags: Sequence[bool]) -> Negatives:
    """Make the record of polyp-free images from one flag per image."""
    flagged = sum(flags)
    return Negatives(
        n=len(flags), flagged=flagged, ci95=wilson(flagged, len(flags)) if flags else None
    )


class SizeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Images whose polyp has one size (`SIZES`); without images, means and intervals are None."""

    n: int
    dice: float | None
    iou: float | None
    dice_ci95: tuple[float, float] | None


class ProtocolA(msgspec.Struct, frozen=True, kw_only=True):
    """The field's figures over the images with a polyp (`edge.evaluation.protocol_a`), 0 to 1.

    Attributes:
        n: Images with a polyp. Polyp-free images are left out: min-max normalization would make
            each of them a false positive.
        upsampled: What was resized to native size: `logits`, as in the field's code, or an engine's
            `scores`.
        mean_dice: Mean over 256 thresholds of the mean Dice over images.
        max_dice: Maximum over thresholds of the mean Dice over images.
        mean_iou: IoU, averaged as `mean_dice`.
        max_iou: IoU, maximized as `max_dice`.
        weighted_f: Weighted F-measure.
        s_measure: Structure measure, alpha 0.5.
        mean_e: Enhanced-alignment measure, averaged as `mean_dice`.
        max_e: Enhanced-alignment measure, maximized as `max_dice`.
        mae: Mean absolute error; smaller is better.
        ci95: Name of a figure -> bootstrap 95 % interval over images.
    """

    n: int
    upsampled: str
    mean_dice: float
    max_dice: float
    mean_iou: float
    max_iou: float
    weighted_f: float
    s_measure: float
    mean_e: float
    max_e: float
    mae: float
    ci95: dict[str, tuple[float, float]]


class ShiftFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy of an engine under one shift.

    Attributes:
        n: Images with a polyp.
        dice: Mean Dice over these images; None without any.
        dice_ci95: Bootstrap 95 % interval of `dice`.
        change: Mean difference in Dice from the same image without the shift.
        change_ci95: Bootstrap 95 % interval of `change`.
        negatives: The polyp-free images.
    """

    n: int
    dice: float | None
    dice_ci95: tuple[float, float] | None
    change: float | None
    change_ci95: tuple[float, float] | None
    negatives: Negatives


class ShiftRow(msgspec.Struct, frozen=True, kw_only=True):
    """A shift at one strength.

    Attributes:
        shift: Name of the shift, `none` for the unchanged images.
        strength: Strength of the shift; 0 for `none`.
        means: Meaning of the strength.
        engines: Engine and precision -> figures.
    """

    shift: str
    strength: float
    means: str
    engines: dict[str, ShiftFigures]


class ShiftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy under every shift.

    Attributes:
        seed: Seed of places and directions; all strengths of a shift share the draws.
        rows: One row per shift and strength, the unchanged images first.
    """

    seed: int
    rows: list[ShiftRow]


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on a data set.

    Attributes:
        n: Images with a polyp; the data set has `n + negatives.n` images.
        dice: Mean Dice over the images with a polyp; None without any.
        iou: Mean IoU over the images with a polyp; None without any.
        dice_ci95: Bootstrap 95 % interval of the mean Dice.
        negatives: The polyp-free images.
        per_image: One row per image, in the order of the data.
        by_size: Protocol B by the size of the polyp, keyed as `SIZES`.
        protocol_a: The field's figures; None if not requested or no image has a polyp.
        benchmark: Name of the benchmark set; None for a folder without one.
        notes: Remarks on the data that a reader of the figures must know.
        clean: Generated polyp-free images (from the phantom or from windows of the data), and how
            many of them were flagged.
        shifts: Accuracy under every shift of `edge.evaluation.shift_report`; None if not requested.
        detection: Detection figures; None if the rows have no findings.
        dice_by_threshold: Mean Dice over the images with a polyp at other thresholds, of all pixels
            that reach them; empty in records of older versions.
        confidence: What the student's confidences are worth; only for an FP32 student.
        header: What the record is of; None in records of older versions.
    """

    n: int
    dice: float | None
    iou: float | None
    dice_ci95: tuple[float, float] | None
    negatives: Negatives
    per_image: list[ImageScore]
    by_size: dict[str, SizeGroup] = {}
    protocol_a: ProtocolA | None = None
    benchmark: str | None = None
    notes: list[str] = []
    clean: dict[str, Negatives] = {}
    shifts: ShiftReport | None = None
    detection: Detection | None = None
    dice_by_threshold: list[ThresholdPoint] = []
    confidence: ConfidenceReport | None = None
    header: RecordHeader | None = None


def dice_iou(predicted: MaskBool, true: MaskBool) -> tuple[float, float] | None:
    """Compute Dice and IoU of a mask.

    Args:
        predicted: (H, W) bool.
        true: (H, W) bool.

    Returns:
        Dice `2 |A and B| / (|A| + |B|)` and IoU; None if `true` is empty.

    Raises:
        DataError: The sizes differ.
    """
    if predicted.shape != true.shape:
        raise DataError(
            "two masks differ in size", expected=f"{true.shape}", got=f"{predicted.shape}"
        )
    area = int(np.count_nonzero(true))
    if area == 0:
        return None
    both = int(np.count_nonzero(predicted & true))
    total = area + int(np.count_nonzero(predicted))
    return 2 * both / total, both / (total - both)


def size_of(area: float) -> str:
    """Return the name of a polyp's size (`SIZES`) from the share of the image that it covers."""
    return next((name for name, bound in SIZES.items() if area < bound), "large")


def summarize(
    rows: Sequence[ImageScore],
    *,
    seed: int = 0,
    protocol_a: ProtocolA | None = None,
    point: OperatingPoint = DEFAULT_OPERATING_POINT,
    dice_by_threshold: Sequence[ThresholdPoint] = (),
) -> EvaluationReport:
    """Compute the report from its rows: means, intervals and counts.

    Args:
        rows: One row per image.
        seed: Seed of the bootstrap.
        protocol_a: The field's figures of the same images, if they were measured.
        point: The operating point of the rows.
        dice_by_threshold: Mean Dice of the same images at other thresholds.

    Raises:
        DataError: There are no rows.
    """
    if len(rows) == 0:
        raise DataError("nothing was evaluated", expected="at least one image")
    positive = _group([row for row in rows if row.dice is not None], seed)
    negatives = [row for row in rows if row.dice is None]
    return EvaluationReport(
        n=positive.n,
        dice=positive.dice,
        iou=positive.iou,
        dice_ci95=positive.dice_ci95,
        negatives=count_flagged([row.flagged for row in negatives]),
        per_image=list(rows),
        by_size={
            name: _group(
                [row for row in rows if row.dice is not None and size_of(row.area_true) == name],
                seed,
            )
            for name in SIZES
        },
        protocol_a=protocol_a,
        detection=_detection(rows, point, seed),
        dice_by_threshold=list(dice_by_threshold),
    )


def _detection(rows: Sequence[ImageScore], point: OperatingPoint, seed: int) -> Detection | None:
    """Compute the detection figures, None unless every row has its findings."""
    frames = [
        FrameFindings(row.dataset, row.sequence, row.findings)
        for row in rows
        if row.findings is not None
    ]
    if len(frames) < len(rows):
        return None
    return summarize_detection(frames, point, size_of=size_of, sizes=SIZES, seed=seed)


def _group(rows: Sequence[ImageScore], seed: int) -> SizeGroup:
    """Compute the figures of images that all have a polyp."""
    dice = [row.dice for row in rows if row.dice is not None]
    iou = [row.iou for row in rows if row.iou is not None]
    if not dice:
        return SizeGroup(n=0, dice=None, iou=None, dice_ci95=None)
    return SizeGroup(
        n=len(dice),
        dice=float(np.mean(dice)),
        iou=float(np.mean(iou)),
        dice_ci95=bootstrap_ci(dice, seed=seed),
    )
