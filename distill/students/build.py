"""Students by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from distill.students.base import Student, StudentMaps
from distill.students.edge import EdgeS, EdgeXS
from distill.students.pranet import PraNet
from distill.students.size import StudentSize, student_size
from distill.students.unet import UNet
from distill.students.unetpp import UNetPP
from edge.errors import UsageError
from edge.util import plugins
from edge.util.plugins import find_plugin, plugin_names

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STUDENTS", "Student", "StudentMaps", "StudentSize", "build_student", "student_size"]

STUDENTS: dict[str, Callable[..., Student]] = {
    "edge-l": partial(EdgeS, variant="lite2", width=96),
    "edge-s": EdgeS,
    "edge-xs": EdgeXS,
    "pranet": PraNet,
    "unet": partial(UNet, width=64),
    "unet-32": partial(UNet, width=32),
    "unetpp": partial(UNetPP, width=32),
    "unetpp-16": partial(UNetPP, width=16),
}
_WITH_WEIGHTS = ("edge-l", "edge-s", "edge-xs", "pranet")
"""Students whose encoder has ImageNet weights."""


def build_student(name: str, *, pretrained: bool = True) -> Student:
    """A student by name.

    Args:
        name: One of `STUDENTS`.
        pretrained: Start an encoder that has ImageNet weights from them.

    Raises:
        UsageError: Unknown name.
    """
    if name not in STUDENTS:
        plugin = find_plugin(plugins.STUDENTS, name)
        if plugin is not None:
            student: Student = plugin.build(Student, pretrained=pretrained)
            return student
        raise UsageError(
            f"unknown student {name!r}",
            expected=" | ".join([*sorted(STUDENTS), *plugin_names(plugins.STUDENTS)]),
        )
    return STUDENTS[name](pretrained=pretrained) if name in _WITH_WEIGHTS else STUDENTS[name]()
