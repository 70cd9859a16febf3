"""Students by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from distill.students.base import Student, StudentMaps
from distill.students.edge import EdgeS
from distill.students.unet import UNet
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STUDENTS", "Student", "StudentMaps", "build_student"]

STUDENTS: dict[str, Callable[..., Student]] = {
    "edge-s": EdgeS,
    "unet": partial(UNet, width=64),
    "unet-32": partial(UNet, width=32),
}


def build_student(name: str, *, pretrained: bool = True) -> Student:
    """A student by name.

    Args:
        name: One of `STUDENTS`.
        pretrained: Start an encoder that has ImageNet weights from them.

    Raises:
        UsageError: Unknown name.
    """
    if name not in STUDENTS:
        raise UsageError(
            f"unknown student {name!r}", expected=" | ".join(sorted(STUDENTS)), mend="--student edge-s"
        )
    return STUDENTS[name](pretrained=pretrained) if name.startswith("edge") else STUDENTS[name]()
