"""Evaluate any scorer of images at native mask size, by protocols B and A.

Protocol B is defined in `edge.evaluation.metrics`, protocol A in `edge.evaluation.protocol_a`. The
evaluated mask is the mask that a device shows: it lacks the regions below the minimum area or the
minimum peak.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from edge.datasets.masks import inversion_note, looks_inverted
from edge.datasets.negatives import sequence_of
from edge.datasets.pairs import read_image, read_pair
from edge.errors import DataError
from edge.evaluation.detection import is_kept
from edge.evaluation.findings import FLAG_AREA, Findings, frame_findings
from edge.evaluation.metrics import EvaluationReport, ImageScore, dice_iou, summarize
from edge.evaluation.protocol_a import field_map, field_score, sigmoid, summarize_field
from edge.evaluation.threshold_curve import dice_curve, summarize_curves
from edge.frame import DEFAULT_OPERATING_POINT, OperatingPoint
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import regions, to_units
from edge.imaging.region_masks import region_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.frame import Box, FieldOfView, ImageU8, MaskBool

    Score = Callable[[ImageU8], NDArray[Any]]
    FrameCallback = Callable[[ImageScore, ImageU8, MaskBool, MaskBool], None]

logger = logging.getLogger(__name__)


def read_evaluation(path: Path) -> EvaluationReport:
    """Read an evaluation's JSON record.

    Raises:
        DataError: The file cannot be read or is not such a record.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=EvaluationReport)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a record of an evaluation", got=str(error)) from error


def read_record(path: Path) -> EvaluationReport:
    """Read an evaluation's JSON record, which must contain detection figures.

    Raises:
        DataError: The file cannot be read or is not such a record.
    """
    report = read_evaluation(path)
    if report.detection is None:
        raise DataError(
            f"{path} has no FROC curve",
            expected="a record of this version",
            hint="evaluate again to make a new record",
            code="record-without-froc",
        )
    return report


def evaluated_files(pairs: Sequence[Pair], clean: Sequence[CleanFrame]) -> list[Path]:
    """Return the files of an evaluation that can be read again, for the digest of its data."""
    files = [path for pair in pairs for path in (pair.image, pair.mask)]
    return [path for path in (*files, *(frame.image for frame in clean)) if path.is_file()]


class _Frame(NamedTuple):
    """A frame to evaluate, with its true mask (empty for a clean frame)."""

    name: str
    dataset: str
    sequence: str
    image: ImageU8
    true: MaskBool


def evaluate(
    pairs: Iterable[Pair],
    score: Score,
    *,
    clean: Iterable[CleanFrame] = (),
    dataset: str = "given",
    point: OperatingPoint = DEFAULT_OPERATING_POINT,
    logits: bool = False,
    rule: FieldOfView = "full-frame",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    on_frame: FrameCallback | None = None,
) -> EvaluationReport:
    """Score every image and compare the mask that a device would show with the true mask.

    Args:
        pairs: Images and masks.
        score: Scores a crop at native size, (H, W, 3) uint8 RGB -> score map (h, w), uint8 in 1/256
            or floating point 0 to 1, or, with `logits`, logits.
        clean: Additional frames without a polyp.
        dataset: Data set of pairs whose name does not begin with one (`dataset/stem`).
        point: Operating point of the mask.
        logits: Whether `score` returns logits.
        rule: Field-of-view rule that determines the crop of each image.
        protocol_a: Also measure by the field's protocol.
        done: Called with the name of each frame after it was scored.
        on_frame: Called with the row, the image, the true mask and the predicted mask, at native
            size.

    Raises:
        DataError: A frame cannot be used, or there are no frames.
    """
    rows, field, curves = [], [], []
    swapped: dict[str, float] = {}
    for frame in _frames(pairs, clean, dataset):
        if looks_inverted(frame.true):
            swapped[frame.name] = float(np.mean(frame.true))
        part = seen_part(frame.image, rule)
        output = score(cut(frame.image, part))
        scores = sigmoid(output) if logits else output
        row, predicted = _judge(frame.name, scores, frame.true, point, part)
        row = msgspec.structs.replace(row, dataset=frame.dataset, sequence=frame.sequence)
        rows.append(row)
        if row.dice is not None:
            curves.append(dice_curve(scores, frame.true, part))
        if protocol_a and row.dice is not None:
            size = (frame.true.shape[0], frame.true.shape[1])
            field.append(field_score(field_map(output, size, logits=logits, part=part), frame.true))
        if on_frame:
            on_frame(row, frame.image, frame.true, predicted)
        if done:
            done(frame.name)
    if swapped:
        with_polyp = sum(row.area_true > 0 for row in rows)
        logger.warning("%s", inversion_note(list(swapped), swapped.values(), with_polyp))
    return summarize(
        rows,
        protocol_a=summarize_field(field, logits=logits),
        point=point,
        dice_by_threshold=summarize_curves(curves),
    )


def _frames(pairs: Iterable[Pair], clean: Iterable[CleanFrame], dataset: str) -> Iterator[_Frame]:
    for pair in pairs:
        image, true = read_pair(pair.image, pair.mask)
        if pair.video:
            yield _Frame(pair.name, dataset, pair.video, image, true)
            continue
        folder, _, stem = pair.name.rpartition("/")
        yield _Frame(pair.name, folder or dataset, sequence_of(stem), image, true)
    for frame in clean:
        image = read_image(frame.image)
        yield _Frame(
            frame.name, frame.dataset, frame.sequence, image, np.zeros(image.shape[:2], bool)
        )


def score_frame(
    name: str,
    scores: NDArray[Any],
    true: MaskBool,
    point: OperatingPoint,
    *,
    part: Box | None = None,
) -> ImageScore:
    """Compare the mask that a device would show with the true mask.

    Args:
        name: Name of the image.
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        true: (H, W) bool.
        point: Operating point of the mask.
        part: The part of the image that the scores cover; None for the whole image.
    """
    return _judge(name, scores, true, point, part)[0]


def find_in_frame(
    scores: NDArray[Any], true: MaskBool, point: OperatingPoint, *, part: Box | None = None
) -> tuple[MaskBool, Findings]:
    """Compute the mask that a device would show, and the findings at any minimum peak.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1, which is rounded to 1/256 as an
            engine does.
        true: (H, W) bool, empty for an image without a polyp.
        point: Operating point of the mask.
        part: The part of the image that the scores cover; None for the whole image.

    Returns:
        The pixels of the kept regions, (H, W) bool, and the findings over all regions.
    """
    units, size = to_units(scores), (true.shape[0], true.shape[1])
    candidates = regions(units, size, point._replace(min_peak=0.0), part=part)
    regions_kept = tuple(region for region in candidates if region.score >= point.min_peak)
    labels = region_labels(units, candidates, size, point.threshold, part)
    labels_kept = (
        labels
        if len(regions_kept) == len(candidates)
        else region_labels(units, regions_kept, size, point.threshold, part)
    )
    return labels_kept > 0, frame_findings(labels, candidates, true)


def _judge(
    name: str, scores: NDArray[Any], true: MaskBool, point: OperatingPoint, part: Box | None
) -> tuple[ImageScore, MaskBool]:
    """The row of a picture and the mask that is shown, (H, W) bool."""
    predicted, findings = find_in_frame(scores, true, point, part=part)
    dice, iou = dice_iou(predicted, true) or (None, None)
    row = ImageScore(
        name=name,
        dice=dice,
        iou=iou,
        area_true=float(np.mean(true)),
        area_found=float(np.mean(predicted)),
        flagged=is_kept(findings.flag_peak, point.min_peak),
        findings=findings,
    )
    return row, predicted


def is_flagged(
    scores: NDArray[Any],
    size: tuple[int, int],
    point: OperatingPoint,
    *,
    part: Box | None = None,
) -> bool:
    """Whether a region of at least `FLAG_AREA` is left after postprocessing."""
    shown_regions = regions(to_units(scores), size, point, part=part)
    return any(region.area >= FLAG_AREA for region in shown_regions)
