"""Accuracy of anything that scores pictures, at native mask size: protocol B (`edge.evaluation.metrics`) and A (`edge.evaluation.protocol_a`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.contracts import USUAL_POINT, OperatingPoint
from edge.datasets.pairs import Pair, read_pair
from edge.errors import DataError
from edge.evaluation.metrics import FLAG_AREA, EvaluationReport, ImageScore, dice_iou, summarise
from edge.evaluation.protocol_a import field_map, field_score, sigmoid, summarise_field
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import native_scores, regions, to_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from edge.bundle.manifest import Rule
    from edge.contracts import Box, ImageU8, MaskBool

    Score = Callable[[ImageU8], NDArray[Any]]
    Seen = Callable[[ImageScore, ImageU8, MaskBool, MaskBool], None]


class _Sample(msgspec.Struct):
    image: str
    mask: str
    dataset: str = ""


class _Splits(msgspec.Struct):
    validation: list[_Sample]


def read_splits(path: Path) -> list[Pair]:
    """The validation pairs of a run's `splits.json`; their names are `dataset/stem`.

    Raises:
        DataError: The file is missing, is no such list or the list is empty.
    """
    try:
        samples = msgspec.json.decode(path.read_bytes(), type=_Splits).validation
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no list of validation pairs",
            expected='{"validation": [{"image": ..., "mask": ..., "dataset": ...}]}',
            got=str(error),
            mend="give RUN/splits.json of a distilled run",
        ) from error
    if not samples:
        raise DataError(f"{path} lists no validation pair", expected="at least one")
    return [
        Pair(
            Path(sample.image),
            Path(sample.mask),
            "/".join(filter(None, (sample.dataset, Path(sample.image).stem))),
        )
        for sample in samples
    ]


def evaluate(
    pairs: Iterable[Pair],
    score: Score,
    *,
    point: OperatingPoint = USUAL_POINT,
    logits: bool = False,
    rule: Rule = "full-frame",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    seen: Seen | None = None,
) -> EvaluationReport:
    """Score every picture and compare with its mask.

    Args:
        pairs: Images and masks.
        score: (H, W, 3) uint8 RGB, what the rule shows of a picture at native size -> score map (h, w), uint8 in 1/256 or floating point 0 to 1,
            or, with `logits`, logits.
        point: Threshold of the mask, and what postprocessing keeps of it.
        logits: Whether `score` gives logits.
        rule: What of a picture is shown, by its own field of view.
        protocol_a: Measure by the field's protocol too.
        done: Called with the name of each pair when it is through.
        seen: Called with the row, the picture, the true mask and the mask that was found, at native size.

    Raises:
        DataError: A pair cannot be used, or there is none.
    """
    rows, field = [], []
    for pair in pairs:
        image, true = read_pair(pair.image, pair.mask)
        part = seen_part(image, rule)
        output = score(cut(image, part))
        scores = sigmoid(output) if logits else output
        size = (true.shape[0], true.shape[1])
        row = score_frame(pair.name, scores, true, point, part=part)
        rows.append(row)
        if protocol_a and row.dice is not None:
            field.append(field_score(field_map(output, size, logits=logits, part=part), true))
        if seen:
            seen(row, image, true, native_scores(scores, size, part) >= point.threshold)
        if done:
            done(pair.name)
    return summarise(rows, protocol_a=summarise_field(field, logits=logits))


def score_frame(
    name: str,
    scores: NDArray[Any],
    true: MaskBool,
    point: OperatingPoint,
    *,
    part: Box | None = None,
) -> ImageScore:
    """The row of one picture.

    Args:
        name: Of the picture.
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        true: (H, W) bool.
        point: Threshold of the mask, and what postprocessing keeps of it.
        part: What of the picture the scores cover; None for all of it.
    """
    size = (true.shape[0], true.shape[1])
    found = native_scores(scores, size, part) >= point.threshold
    dice, iou = dice_iou(found, true) or (None, None)
    return ImageScore(
        name=name,
        dice=dice,
        iou=iou,
        area_true=float(np.mean(true)),
        area_found=float(np.mean(found)),
        flagged=is_flagged(scores, size, point, part=part),
    )


def is_flagged(
    scores: NDArray[Any],
    size: tuple[int, int],
    point: OperatingPoint,
    *,
    part: Box | None = None,
) -> bool:
    """Whether a region of at least `FLAG_AREA` is left after threshold and postprocessing of a single frame."""
    kept = regions(to_units(scores), size, point, part=part)
    return any(region.area >= FLAG_AREA for region in kept)
