"""Teachers by name; each module is imported only when its teacher is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.teachers.base import Teacher
from edge.errors import UsageError
from edge.lookup import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TEACHERS", "Teacher", "build_teacher"]

TEACHERS = {
    "efficientnet_lite2": "distill.teachers.efficientnet_lite:EfficientNetLite2",
    "dinov2": "distill.teachers.huggingface:load_dinov2",
    "sam": "distill.teachers.huggingface:load_sam",
}
_WITH_SOURCE = ("dinov2", "sam")


def build_teacher(spec: str) -> Teacher:
    """A frozen teacher in eval mode.

    Args:
        spec: `efficientnet_lite2`, `dinov2`, `sam`; the latter two also as `dinov2:SOURCE`, where the source is a
            local checkpoint folder or a name on the Hugging Face hub.

    Raises:
        UsageError: Unknown name, or a source for a teacher that takes none.
        MissingDependencyError: A package is not installed, or the hub cannot be reached.
        DataError: The source holds no such model.
    """
    name, colon, source = spec.partition(":")
    if name not in TEACHERS or (colon and not source) or (source and name not in _WITH_SOURCE):
        raise UsageError(
            f"unknown teacher {spec!r}",
            expected=" | ".join(f"{n}[:FOLDER_OR_HUB_NAME]" if n in _WITH_SOURCE else n for n in TEACHERS),
            mend="--teacher efficientnet_lite2",
        )
    build: Callable[..., Teacher] = resolve(TEACHERS[name])
    return build(source) if source else build()
