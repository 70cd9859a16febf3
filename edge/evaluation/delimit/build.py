"""Detectors and delineators by name; what needs torch is imported only when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from edge.errors import UsageError
from edge.evaluation.delimit.base import (
    BoxDelineator,
    Delineator,
    Detector,
    OracleDelineator,
    OracleDetector,
    WholeFrameDetector,
)
from edge.evaluation.delimit.student import (
    HeadDetector,
    Scorer,
    StudentDelineator,
    StudentDetector,
)
from edge.util import plugins
from edge.util.extras import resolve
from edge.util.plugins import find_plugin, plugin_names
from edge.util.spec import choice, expand, number, option, parse, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from edge.util.spec import Spec


class Opening(NamedTuple):
    """How a student is opened.

    Attributes:
        stack: Closes what was opened.
        engine: Engine of a bundle.
        threads: CPU threads; None for every core.
        precision: Precision of a bundle's engine.
    """

    stack: ExitStack
    engine: str = "auto"
    threads: int | None = None
    precision: str = "int8"


@dataclass(frozen=True, kw_only=True)
class OracleOptions:
    """Options of `oracle` as a detector."""

    jitter: float = option(number("share of the side", 0.0, 1.0), 0.0)
    seed: int = option(whole(0, 2**31 - 1), 0)


@dataclass(frozen=True, kw_only=True)
class CropOptions:
    """Options of `student` as a delineator."""

    margin: float = option(number("share of the longer side", 0.0, 4.0), 0.5)


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """Options of prompted segmenters: `min-max` normalizes as MedSAM does."""

    normalize: str = option(choice("published", "min-max"), "published")


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """No options."""


class Form(NamedTuple):
    """How a part is written and built.

    Attributes:
        source: What follows the colon; empty if nothing does.
        options: What may follow `?`.
        build: Builds it from its description and how students are opened.
        help: One sentence.
    """

    source: str
    options: type[Any]
    build: Callable[[Spec, Opening], Any]
    help: str


def open_scorer(source: str, opening: Opening) -> Scorer:
    """A student that is ready to score.

    Args:
        source: Bundle, name of a shipped bundle, or run of a training.
        opening: How it is opened.

    Raises:
        BundleError: The bundle cannot be opened.
        TrainingError: The run has no usable weights.
        MissingDependencyError: A package is not installed.
    """
    from edge.bundle.shipped import find_bundle

    path = expand(source)
    if (path / "resolved.yaml").is_file():
        scorer: Scorer = resolve("distill.delimit.runs:open_run")(path)
        return scorer
    from edge.bundle.reader import Bundle
    from edge.evaluation.bundle import open_score

    bundle = Bundle.open(find_bundle(path))
    opened = open_score(bundle, opening.engine, opening.threads, opening.precision)
    score = opening.stack.enter_context(opened)
    return Scorer(score, bundle.manifest.output.point, bundle.manifest.input.field_of_view)


def open_head(source: str, opening: Opening) -> Detector:
    """The detection head of a student.

    Args:
        source: Bundle or run, as in `open_scorer`.
        opening: How it is opened.

    Raises:
        UsageError: The student has no detection head.
        EdgeDifomError: As `open_scorer` raises.
    """
    from edge.bundle.shipped import find_bundle

    path = expand(source)
    if (path / "resolved.yaml").is_file():
        return cast("Detector", resolve("distill.delimit.runs:open_head")(path))
    from edge.bundle.reader import Bundle
    from edge.evaluation.bundle import open_score

    bundle = Bundle.open(find_bundle(path))
    if not bundle.manifest.output.boxes:
        raise UsageError(
            f"the student of {source} gives no boxes",
            expected="a bundle of a student with detection=true",
            hint=f"student:{source} takes boxes from the mask instead",
        )
    opened = open_score(bundle, opening.engine, opening.threads, opening.precision, all_planes=True)
    score = opening.stack.enter_context(opened)
    output, input_spec = bundle.manifest.output, bundle.manifest.input
    return HeadDetector(Scorer(score, output.point, input_spec.field_of_view))


def _prompted(reference: str) -> Callable[[Spec, Opening], Any]:
    def build(spec: Spec, opening: Opening) -> Any:
        del opening
        settings = spec.read(PromptOptions)
        return resolve(reference)(str(spec.path), normalize=settings.normalize)

    return build


_STUDENT = "BUNDLE_OR_RUN"
DETECTORS: dict[str, Form] = {
    "oracle": Form(
        "",
        OracleOptions,
        lambda spec, _: OracleDetector(**vars(spec.read(OracleOptions))),
        "The true boxes; `?jitter=.1` moves each edge by up to a tenth of the box's side.",
    ),
    "whole-frame": Form(
        "", NoOptions, lambda *_: WholeFrameDetector(), "One box around the whole frame."
    ),
    "student": Form(
        _STUDENT,
        NoOptions,
        lambda spec, opening: StudentDetector(open_scorer(spec.target, opening)),
        "The regions of a student's mask.",
    ),
    "detection": Form(
        _STUDENT,
        NoOptions,
        lambda spec, opening: open_head(spec.target, opening),
        "The boxes of a student with `detection=true`.",
    ),
}
"""Detectors by name."""
DELINEATORS: dict[str, Form] = {
    "oracle": Form(
        "", NoOptions, lambda *_: OracleDelineator(), "The true masks of the polyps in a box."
    ),
    "box": Form("", NoOptions, lambda *_: BoxDelineator(), "The ellipse inside a box."),
    "student": Form(
        _STUDENT,
        CropOptions,
        lambda spec, opening: StudentDelineator(
            open_scorer(spec.target, opening), spec.read(CropOptions).margin
        ),
        "A student's mask of a crop around the box; `?margin=.5` is the crop's margin.",
    ),
    "prompted": Form(
        "RUN",
        NoOptions,
        lambda spec, _: resolve("distill.delimit.prompted:open_prompted")(spec.path),
        "A student that is told boxes, such as `pro-mamba`.",
    ),
    "sam": Form(
        "FOLDER_OR_HUB_NAME",
        PromptOptions,
        _prompted("distill.delimit.segmenters:load_sam"),
        "SAM, prompted with the box; `?normalize=min-max` for checkpoints of MedSAM.",
    ),
    "sam2": Form(
        "FOLDER_OR_HUB_NAME",
        PromptOptions,
        _prompted("distill.delimit.segmenters:load_sam2"),
        "SAM 2, prompted with the box.",
    ),
    "mask2former": Form(
        "FOLDER_OR_HUB_NAME",
        NoOptions,
        lambda spec, _: resolve("distill.delimit.queries:load_mask2former")(str(spec.path)),
        "Of Mask2Former's own masks, the one that fits the box best.",
    ),
}
"""Delineators by name."""


def build_detector(text: str, opening: Opening) -> Detector:
    """A detector by its description, such as `student:RUN` or `oracle?jitter=.1`.

    Args:
        text: One of `DETECTORS`, or a plug-in.
        opening: How students are opened.

    Raises:
        UsageError: Unknown name, source or option.
        EdgeDifomError: It cannot be opened.
    """
    return cast("Detector", _build(text, DETECTORS, opening, plugins.DETECTORS, Detector))


def build_delineator(text: str, opening: Opening) -> Delineator:
    """A delineator by its description, such as `sam:FOLDER?normalize=min-max`.

    Args:
        text: One of `DELINEATORS`, or a plug-in.
        opening: How students are opened.

    Raises:
        UsageError: Unknown name, source or option.
        EdgeDifomError: It cannot be opened.
    """
    return cast("Delineator", _build(text, DELINEATORS, opening, plugins.DELINEATORS, Delineator))


def forms(table: dict[str, Form]) -> list[str]:
    """Every way to write a part of a table, such as `student:BUNDLE_OR_RUN`."""
    return [f"{name}:{form.source}".rstrip(":") for name, form in table.items()]


def _build(text: str, table: dict[str, Form], opening: Opening, group: str, kind: type) -> object:
    spec = parse(text)
    form = table.get(spec.scheme)
    if form is None:
        plugin = find_plugin(group, spec.scheme)
        if plugin is not None:
            spec.refuse_options()
            return plugin.build(kind, *([] if spec.bare else [spec.target]))
    if form is None or bool(form.source) != bool(spec.target):
        raise UsageError(
            f"unknown {kind.__name__.lower()} {text!r}",
            expected=" | ".join([*forms(table), *plugin_names(group)]),
        )
    spec.read(form.options)  # before anything is opened
    return form.build(spec, opening)
