"""Accuracy of a bundle's engine with the device's own preprocessing.

It covers labeled images, clean frames and images under appearance shifts.
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import msgspec

from edge.bundle.header import bundle_header
from edge.errors import BundleError, InferenceFault
from edge.evaluation.evaluator import evaluate, evaluated_files, is_flagged
from edge.evaluation.metrics import EvaluationReport, Negatives, ShiftReport, count_flagged
from edge.evaluation.shift_report import evaluate_shifts
from edge.imaging.box_maps import mask_plane
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edge.bundle.reader import Bundle
    from edge.contracts import Engine
    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.evaluation.evaluator import FrameCallback, Score
    from edge.frame import ImageU8


def evaluate_bundle(
    bundle: Bundle,
    pairs: Sequence[Pair],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    clean: Sequence[CleanFrame] = (),
    dataset: str = "given",
    protocol_a: bool = False,
    done: Callable[[str], None] | None = None,
    on_frame: FrameCallback | None = None,
) -> EvaluationReport:
    """Measure the accuracy of a bundle's engine with the device's own preprocessing.

    Args:
        bundle: An open bundle.
        pairs: Images and masks.
        engine: `openvino`, `tflite`, `onnx` or `auto`.
        threads: CPU threads; None for every core.
        precision: `int8`, `f32` or `bf16`.
        clean: Additional frames without a polyp.
        dataset: Data set of pairs whose name does not begin with one.
        protocol_a: Also measure by the field's protocol.
        done: Called with the name of each pair after it was scored.
        on_frame: As in `edge.evaluation.evaluator.evaluate`.

    Raises:
        DataError: A pair cannot be used, or there are no pairs.
        BundleError: The engine does not verify or cannot run on this machine.
        UsageError: The bundle has no such engine.
        MissingDependencyError: The engine's runtime is not installed.
    """
    from edge.inference.isolated import open_isolated

    opened = open_isolated(bundle, engine, threads=threads, precision=precision)
    with closing(opened):
        name = opened.name
        report = evaluate(
            pairs,
            lambda image: _infer(opened, image, bundle.manifest.output.planes),
            clean=clean,
            dataset=dataset,
            point=bundle.manifest.output.point,
            rule=bundle.manifest.input.field_of_view,
            protocol_a=protocol_a,
            done=done,
            on_frame=on_frame,
        )
    header = bundle_header(
        bundle,
        engine=name,
        precision=precision,
        data=dataset,
        files=evaluated_files(pairs, clean),
    )
    return msgspec.structs.replace(report, header=header)


def count_clean(
    bundle: Bundle,
    images: Iterable[tuple[str, ImageU8]],
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "int8",
    done: Callable[[str], None] | None = None,
) -> Negatives:
    """Count how many images without a polyp an engine flags.

    Raises the errors of `evaluate_bundle`.

    Args:
        bundle: An open bundle.
        images: Name and image, as `edge.datasets.negatives` makes them.
        engine: As in `evaluate_bundle`.
        threads: As in `evaluate_bundle`.
        precision: As in `evaluate_bundle`.
        done: Called with the name of each image after it was scored.
    """
    point, rule = bundle.manifest.output.point, bundle.manifest.input.field_of_view
    flags = []
    with open_score(bundle, engine, threads, precision) as score:
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
    """Measure the accuracy of an engine under every shift of `edge.evaluation.shift_report`.

    The report has the INT8 engine and, if the bundle has one, the f32 engine. Raises the errors of
    `evaluate_bundle`.

    Args:
        bundle: An open bundle.
        pairs: Images and masks.
        engine: As in `evaluate_bundle`.
        threads: As in `evaluate_bundle`.
        done: Called with the name of each pair after it was scored.
    """
    from edge.engines.open import choose_engine, split_name

    chosen = choose_engine(bundle, engine, "int8")
    runtime = split_name(chosen)[0]
    precisions = [entry.precision for entry in bundle.manifest.engines if entry.runtime == runtime]
    with ExitStack() as stack:
        scores = {
            f"{runtime} {precision}": stack.enter_context(
                open_score(bundle, chosen, threads, precision)
            )
            for precision in ("int8", "f32")
            if precision in precisions
        }
        return evaluate_shifts(
            scores,
            pairs,
            point=bundle.manifest.output.point,
            rule=bundle.manifest.input.field_of_view,
            done=done,
        )


@contextmanager
def open_score(
    bundle: Bundle, engine: str, threads: int | None, precision: str, *, all_planes: bool = False
) -> Iterator[Score]:
    """Open an engine in a process of its own, as a function from an image to its scores.

    Args:
        bundle: An open bundle.
        engine: As in `evaluate_bundle`.
        threads: As in `evaluate_bundle`.
        precision: As in `evaluate_bundle`.
        all_planes: Whether it gives all maps of a student with boxes, instead of the mask's.

    Raises the errors of `evaluate_bundle`.
    """
    from edge.inference.isolated import open_isolated

    opened = open_isolated(bundle, engine, threads=threads, precision=precision)
    try:
        planes = 1 if all_planes else bundle.manifest.output.planes
        yield lambda image: _infer(opened, image, planes)
    finally:
        opened.close()


def _infer(engine: Engine, image: ImageU8, planes: int) -> ImageU8:
    try:
        scores = engine.infer(to_input(image, engine.input_size, bgr=False))
        return mask_plane(scores, planes)
    except InferenceFault as fault:
        raise BundleError(f"the {engine.name} engine gives no scores", got=fault.detail) from fault
