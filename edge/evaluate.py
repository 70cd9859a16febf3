"""Accuracy of anything that scores pictures, at native mask size: protocol B (`edge.metrics`) and A (`edge.protocol_a`)."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.errors import DataError
from edge.frames.crop import cut, seen_part
from edge.metrics import (
    FLAG_AREA,
    EvaluationReport,
    ImageScore,
    Negatives,
    ShiftReport,
    count_flagged,
    dice_iou,
    summarise,
)
from edge.pairs import Pair, read_pair
from edge.postprocess import native_scores, regions, to_units
from edge.preprocess import to_input
from edge.protocol_a import field_map, field_score, sigmoid, summarise_field
from edge.types import USUAL_POINT, OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from edge.bundle import Bundle
    from edge.manifest import Rule
    from edge.types import Box, Engine, ImageU8, MaskBool

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


def count_clean(
    bundle: Bundle,
    images: Iterable[tuple[str, ImageU8]],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    done: Callable[[str], None] | None = None,
) -> Negatives:
    """How many of pictures without a polyp an engine flags.

    Args:
        bundle: An open bundle.
        images: Name and picture, as `edge.negatives` makes them.
        engine: As in `evaluate_bundle`, as are the other arguments and errors.
        threads: Likewise.
        precision: Likewise.
        done: Called with the name of each picture when it is through.
    """
    point, rule = bundle.manifest.output.point, bundle.manifest.input.field_of_view
    flags = []
    with _open(bundle, engine, threads, precision) as score:
        for name, image in images:
            size, part = (image.shape[0], image.shape[1]), seen_part(image, rule)
            flags.append(is_flagged(score(cut(image, part)), size, point, part=part))
            if done:
                done(name)
    return count_flagged(flags)


def evaluate_bundle_shifts(
    bundle: Bundle,
    pairs: Sequence[Pair],
    *,
    engine: str = "auto",
    threads: int | None = None,
    done: Callable[[str], None] | None = None,
) -> ShiftReport:
    """Accuracy of an engine under every change of `edge.shift_report`, INT8 and, where the bundle has it, f32 beside it.

    Args:
        bundle: An open bundle.
        pairs: Images and masks.
        engine: As in `evaluate_bundle`, as are the other arguments and errors.
        threads: Likewise.
        done: Called with the name of each pair when it is through.
    """
    from edge.backends import choose_engine, split_name
    from edge.shift_report import evaluate_shifts

    chosen = choose_engine(bundle, engine, "int8")
    runtime = split_name(chosen)[0]
    held = [entry.precision for entry in bundle.manifest.engines if entry.runtime == runtime]
    with ExitStack() as stack:
        scores = {
            f"{runtime} {precision}": stack.enter_context(_open(bundle, chosen, threads, precision))
            for precision in ("int8", "f32")
            if precision in held
        }
        return evaluate_shifts(
            scores,
            pairs,
            point=bundle.manifest.output.point,
            rule=bundle.manifest.input.field_of_view,
            done=done,
        )


@contextmanager
def _open(bundle: Bundle, engine: str, threads: int | None, precision: str) -> Iterator[Score]:
    from edge.backends import open_engine

    opened = open_engine(bundle, engine, threads=threads, precision=precision)
    try:
        yield lambda image: _infer(opened, image)
    finally:
        opened.close()


def evaluate_bundle(
    bundle: Bundle,
    pairs: Sequence[Pair],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    seen: Seen | None = None,
) -> EvaluationReport:
    """Accuracy of a bundle's engine, through the device's own preprocessing.

    Args:
        bundle: An open bundle.
        pairs: Images and masks.
        engine: `openvino`, `tflite`, `onnx` or `auto`.
        threads: CPU threads; None for every core.
        precision: `int8`, `f32` or `bf16`.
        protocol_a: Measure by the field's protocol too.
        done: Called with the name of each pair when it is through.
        seen: As in `evaluate`.

    Raises:
        DataError: A pair cannot be used, or there is none.
        BundleError: The engine does not verify or does not fit this machine.
        UsageError: The bundle has no such engine.
        MissingDependencyError: The engine's runtime is not installed.
    """
    with _open(bundle, engine, threads, precision) as score:
        return evaluate(
            pairs,
            score,
            point=bundle.manifest.output.point,
            rule=bundle.manifest.input.field_of_view,
            protocol_a=protocol_a,
            done=done,
            seen=seen,
        )


def _infer(engine: Engine, image: ImageU8) -> ImageU8:
    return engine.infer(to_input(image, engine.input_size, bgr=False))
