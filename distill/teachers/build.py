"""Teachers by name; each module is imported only when its teacher is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from distill.teachers.base import Teacher
from edge.errors import UsageError
from edge.util.extras import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TEACHERS", "Form", "Teacher", "build_task_teacher", "build_teacher", "spec_forms"]


class Form(NamedTuple):
    """How a teacher is written and who builds it.

    Attributes:
        source: What follows the colon; in brackets where it may be left out, empty where there is none.
        builder: `"module:attribute"`, called with the source if there is one.
    """

    source: str
    builder: str


_HF = "distill.teachers.huggingface"
_FOLDER = "[FOLDER_OR_HUB_NAME]"
TEACHERS = {
    "efficientnet_lite2": Form("", "distill.teachers.efficientnet_lite:EfficientNetLite2"),
    "dinov2": Form(_FOLDER, f"{_HF}:load_dinov2"),
    "dinov3": Form(_FOLDER, f"{_HF}:load_dinov3"),
    "sam": Form("[FOLDER_OR_HUB_NAME | FILE.pth]", f"{_HF}:load_sam"),
    "sam2": Form(_FOLDER, f"{_HF}:load_sam2"),
    "oneformer": Form(_FOLDER, f"{_HF}:load_oneformer"),
    "mask2former": Form(_FOLDER, f"{_HF}:load_mask2former"),
    "timm": Form("NAME[@CHECKPOINT]", "distill.teachers.timm_models:load_timm"),
    "run": Form("RUN", "distill.teachers.student:load_student_maps"),
}
SAM_PTH = "distill.teachers.segment_anything:load_sam_pth"
TASK_TEACHER = "distill.teachers.student:load_task_teacher"


def spec_forms() -> list[str]:
    """Every way to name a teacher, such as `dinov2[:FOLDER_OR_HUB_NAME]`."""
    return [
        f"{name}[:{form.source[1:-1]}]"
        if form.source.startswith("[")
        else f"{name}:{form.source}".rstrip(":")
        for name, form in TEACHERS.items()
    ]


def build_teacher(spec: str) -> Teacher:
    """A frozen teacher in eval mode.

    Args:
        spec: One of `spec_forms`. A folder is a local checkpoint of transformers, a hub name one on the Hugging Face
            hub; `sam:FILE.pth` is a checkpoint of the segment-anything package, `timm:NAME` any network of timm, and
            `run:RUN` a student trained here.

    Raises:
        UsageError: Unknown name, a source for a teacher that takes none, or none for one that needs it.
        MissingDependencyError: A package is not installed, or the weights cannot be had.
        DataError: The source holds no such model.
    """
    name, colon, source = spec.partition(":")
    form = TEACHERS.get(name)
    refused = form is None or bool(colon) != bool(source) or (bool(source) and not form.source)
    if form is None or refused or (not source and form.source and not form.source.startswith("[")):
        raise UsageError(
            f"unknown teacher {spec!r}",
            expected=" | ".join(spec_forms()),
            hint="--teacher efficientnet_lite2",
        )
    is_pth = name == "sam" and source.endswith((".pth", ".pt"))
    build: Callable[..., Teacher] = resolve(SAM_PTH if is_pth else form.builder)
    return build(source) if source else build()


def build_task_teacher(specs: Sequence[str]) -> Teacher:
    """Trained students as one teacher of one channel, the logit of their mean probability.

    Args:
        specs: Each `run:RUN`.

    Raises:
        UsageError: A specification has another form, or its folder is not a run directory.
        TrainingError: Its checkpoint is missing or damaged.
    """
    sources = []
    for spec in specs:
        name, _, source = spec.partition(":")
        if name != "run" or not source:
            raise UsageError(
                f"task teacher {spec!r} has no logits",
                expected="run:RUN, a student trained here; no other teacher segments polyps",
                hint="--set task_teachers=[run:RUN]",
            )
        sources.append(source)
    build: Callable[[Sequence[str]], Teacher] = resolve(TASK_TEACHER)
    return build(sources)
