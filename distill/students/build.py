"""Students by name.

The name of a network is that of a student, and of what takes the place of its own parts:
`edge-s+emcad`, `edge-xs+pld+dynamic-head`, `pranet-v2+softmax`. It is what bundles record.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from distill.students.base import Student, StudentMaps
from distill.students.decoders.build import DECODERS
from distill.students.early import Early
from distill.students.edge import EdgeS, EdgeXS, Parts, SSFormerB0
from distill.students.pranet import PraNet
from distill.students.pranet_v2 import PraNetV2
from distill.students.pro_mamba import ProMamba
from distill.students.size import StudentSize, student_size
from distill.students.unet import UNet
from distill.students.unetpp import UNetPP
from edge.errors import UsageError
from edge.util import plugins
from edge.util.extras import resolve
from edge.util.plugins import find_plugin, plugin_names

if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["STUDENTS", "Student", "StudentMaps", "StudentSize", "build_student", "student_size"]

STUDENTS: dict[str, Callable[..., Student]] = {
    "edge-l": partial(EdgeS, variant="lite2", width=96),
    "edge-s": EdgeS,
    "edge-xs": EdgeXS,
    "pranet": PraNet,
    "pranet-v2": PraNetV2,
    "pro-mamba": ProMamba,
    "ssformer-b0": SSFormerB0,
    "unet": partial(UNet, width=64),
    "unet-32": partial(UNet, width=32),
    "unetpp": partial(UNetPP, width=32),
    "unetpp-16": partial(UNetPP, width=16),
}
SOURCED = {
    "sam-cnn": "distill.students.guided_sam:SamCnn",
    "sam-mamba": "distill.students.guided_sam:SamMamba",
}
"""Teachers that are trained like students, named with a source: `sam-mamba:FOLDER`."""
_PARTS: dict[str, tuple[str, Any]] = {
    **{name: ("decoder", name) for name in DECODERS},
    "dynamic-head": ("dynamic_head", True),
    "pooled-attention": ("pooled_attention", True),
    "softmax": ("attention", "softmax"),
    "uncertainty": ("uncertainty", True),
    "detection": ("detection", True),
    "selective-scan": ("selective_scan", True),
    **{name: ("early", name) for name in get_args(Early) if name != "lite"},
}
"""Part of a network's name -> argument of the student and its value."""


def build_student(network: str, *, pretrained: bool = True) -> Student:
    """A student by name.

    Args:
        network: One of `STUDENTS`, or one with parts, such as `edge-s+emcad`; or one of `SOURCED`
            with a checkpoint of SAM.
        pretrained: Start an encoder that has ImageNet weights from them.

    Raises:
        UsageError: Unknown name, or a part that the student cannot have.
    """
    kind, colon, source = network.partition(":")
    if colon and kind in SOURCED:
        built: Student = resolve(SOURCED[kind])(source, pretrained=pretrained)
        return built
    name, *parts = network.split("+")
    if name not in STUDENTS:
        plugin = find_plugin(plugins.STUDENTS, name) if not parts else None
        if plugin is not None:
            student: Student = plugin.build(Student, pretrained=pretrained)
            return student
        raise UsageError(
            f"unknown student {name!r}",
            expected=" | ".join(
                [
                    *sorted(STUDENTS),
                    *(f"{kind}:SAM" for kind in SOURCED),
                    *plugin_names(plugins.STUDENTS),
                ]
            ),
        )
    accepted = _accepted(STUDENTS[name])
    arguments = _arguments(name, parts, accepted)
    if "pretrained" in accepted:
        arguments["pretrained"] = pretrained
    return STUDENTS[name](**arguments)


def _arguments(name: str, parts: list[str], accepted: Container[str]) -> dict[str, Any]:
    """Arguments that the parts of a network's name stand for."""
    arguments: dict[str, Any] = {}
    legal = [part for part, (key, _) in _PARTS.items() if key in accepted]
    for part in parts:
        if part not in _PARTS:
            raise UsageError(
                f"unknown part {part!r} of student {name}",
                expected=" | ".join(legal) or f"{name} alone",
            )
        key, value = _PARTS[part]
        if part not in legal:
            raise UsageError(
                f"{part} does not fit student {name}, which has no {key.replace('_', ' ')}",
                expected=" | ".join(legal) or f"{name} alone",
                hint=f"students with one: {', '.join(_students_with(key))}",
            )
        if key in arguments:
            raise UsageError(f"student {name} is given two parts of a kind", got="+".join(parts))
        arguments[key] = value
    return arguments


def _accepted(student: Callable[..., Student]) -> set[str]:
    """Names of the arguments that a student takes."""
    parameters = inspect.signature(student).parameters
    takes_parts = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    return {*parameters, *(Parts.__annotations__ if takes_parts else ())}


def _students_with(key: str) -> list[str]:
    return [name for name, student in STUDENTS.items() if key in _accepted(student)]
