"""Teachers by name; each module is imported only when its teacher is asked for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

from distill.teachers.base import Teacher
from distill.teachers.layers import choose_layers, read_layers
from edge.errors import UsageError
from edge.util import plugins
from edge.util.extras import resolve
from edge.util.plugins import find_plugin, plugin_names
from edge.util.spec import Spec, choice, expand, option, parse, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "TEACHERS",
    "Form",
    "Teacher",
    "build_task_teacher",
    "build_teacher",
    "make_teacher",
    "spec_forms",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """Options of a teacher whose size is fixed: which of its layers are distilled."""

    layers: tuple[str, ...] | None = option(read_layers, None)


@dataclass(frozen=True, kw_only=True)
class Settings(LayerSettings):
    """Options of other built-in teachers: height and width of the input in pixels, and layers."""

    size: int | None = option(whole(14, 4096), None)


@dataclass(frozen=True, kw_only=True)
class SamSettings(Settings):
    """Options of SAM and SAM 2: `min-max` normalizes as MedSAM does."""

    normalize: str | None = option(choice("published", "min-max"), None)


class Form(NamedTuple):
    """How a teacher is written and who builds it.

    Attributes:
        source: What follows the colon; in brackets where it may be left out, empty where there is
            none.
        builder: `"module:attribute"`, called with the source if there is one, and with the options
            that are given.
        options: What may follow `?`.
    """

    source: str
    builder: str
    options: type[LayerSettings] = Settings

    def accepts(self, spec: Spec) -> bool:
        """Whether a description has a source exactly where this form takes one."""
        if spec.bare:
            return not self.source or self.source.startswith("[")
        return bool(spec.target) and bool(self.source)


_HF = "distill.teachers.huggingface"
_FOLDER = "[FOLDER_OR_HUB_NAME]"
TEACHERS = {
    "efficientnet_lite2": Form("", "distill.teachers.efficientnet_lite:EfficientNetLite2"),
    "dinov2": Form(_FOLDER, f"{_HF}:load_dinov2"),
    "dinov3": Form(_FOLDER, f"{_HF}:load_dinov3"),
    "sam": Form("[FOLDER_OR_HUB_NAME | FILE.pth]", f"{_HF}:load_sam", SamSettings),
    "sam2": Form(_FOLDER, f"{_HF}:load_sam2", SamSettings),
    "oneformer": Form(_FOLDER, f"{_HF}:load_oneformer"),
    "mask2former": Form(_FOLDER, f"{_HF}:load_mask2former"),
    "timm": Form("NAME[@CHECKPOINT]", "distill.teachers.timm_models:load_timm"),
    "run": Form("RUN", "distill.teachers.student:load_student_maps"),
    "fitted": Form("DIR", "distill.teachers.fitted:load_fitted", LayerSettings),
}
SAM_PTH = "distill.teachers.segment_anything:load_sam_pth"
TASK_TEACHER = "distill.teachers.task:load_task_teacher"


def spec_forms() -> list[str]:
    """Every way to name a teacher, such as `dinov2[:FOLDER_OR_HUB_NAME]`."""
    return [
        f"{name}[:{form.source[1:-1]}]"
        if form.source.startswith("[")
        else f"{name}:{form.source}".rstrip(":")
        for name, form in TEACHERS.items()
    ]


def build_teacher(text: str) -> Teacher:
    """Build a frozen teacher in eval mode, and log one line about it; see `make_teacher`."""
    teacher = make_teacher(text)
    logger.info("%s", teacher.describe())
    return teacher


def make_teacher(text: str) -> Teacher:
    """Build a frozen teacher in eval mode.

    Args:
        text: One of `spec_forms`. A folder is a local checkpoint of transformers, a hub name is one
            on the Hugging Face hub; `sam:FILE.pth` is a checkpoint of the segment-anything package,
            `timm:NAME` any network of timm, `run:RUN` a student trained here, and `fitted:DIR` a
            teacher fitted here. A leading `~` of a path is expanded. `?size=PIXELS` at the end sets
            the size of the network's input, `?layers=NAME,NAME` the layers that are distilled.

    Raises:
        UsageError: The name is unknown, its source is missing, it takes none, or the size or the
            layers do not fit.
        MissingDependencyError: A package is not installed, or the weights cannot be loaded.
        DataError: The source holds no such model.
    """
    spec = parse(text)
    form = TEACHERS.get(spec.scheme)
    plugin = find_plugin(plugins.TEACHERS, spec.scheme) if form is None else None
    sources = [] if spec.bare else [_expanded(spec.target)]
    if plugin is not None and not spec.options and (spec.bare or spec.target):
        teacher = cast("Teacher", plugin.build(Teacher, *sources))
    elif form is None or not form.accepts(spec):
        raise UsageError(
            f"unknown teacher {text!r}",
            expected=" | ".join([*spec_forms(), *plugin_names(plugins.TEACHERS)]),
        )
    else:
        settings = dict(vars(spec.read(form.options)))
        is_pth = spec.scheme == "sam" and spec.target.endswith((".pth", ".pt"))
        build: Callable[..., Teacher] = resolve(SAM_PTH if is_pth else form.builder)
        layers = settings.pop("layers")
        keywords = {name: value for name, value in settings.items() if value is not None}
        teacher = build(*sources, **keywords)
        teacher = teacher if layers is None else choose_layers(teacher, layers)
    return teacher


def _expanded(source: str) -> str:
    """Expand `~` in a source; a name on a hub is left as it is."""
    name, at, checkpoint = source.partition("@~")
    source = f"{name}@{expand(f'~{checkpoint}')}" if at else source
    return str(expand(source)) if source.startswith("~") else source


def build_task_teacher(specs: Sequence[str]) -> Teacher:
    """Networks that segment as one teacher of one channel, the logit of their mean probability.

    Args:
        specs: Each `run:RUN` or `fitted:DIR`.

    Raises:
        UsageError: A specification has another form, or its folder is neither of the two.
        TrainingError: Its checkpoint is missing or damaged.
        DataError: The network under a fitted teacher has changed.
    """
    members = []
    for spec in specs:
        parsed = parse(spec)
        if parsed.scheme not in ("run", "fitted") or not parsed.target or parsed.options:
            raise UsageError(
                f"task teacher {spec!r} has no logits",
                expected="run:RUN, a student trained here, or fitted:DIR, a fitted teacher",
                hint="task_teachers=[run:RUN]",
            )
        members.append(Spec(parsed.scheme, _expanded(parsed.target)))
    build: Callable[[Sequence[Spec]], Teacher] = resolve(TASK_TEACHER)
    return build(members)
