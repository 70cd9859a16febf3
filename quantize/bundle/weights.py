"""Read the float weights of a bundle's student back from its OpenVINO engine.

A training can start from these weights.


The integers of a convolution times their scales are its weights with BatchNorm folded in, so the
student's BatchNorms only add the bias. Only the rounding of the weights is lost, and training
removes it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from distill.students.build import build_student
from edge.engines.openvino import read_ir
from edge.errors import UsageError
from quantize.graph.layers import convolutions
from quantize.graph.tracing import arguments, operator, trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.fx import Node

    from distill.students.build import Student
    from edge.bundle.reader import Bundle


class _Weights(NamedTuple):
    """Weight (O, I / groups, kh, kw) and bias (O,) of one convolution, float32."""

    weight: Tensor
    bias: Tensor


def bundle_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Return the state dict of a bundle's student.

    Args:
        bundle: An open bundle with an OpenVINO engine.

    Returns:
        Parameters and buffers by their names in the student. Parts that only this version's student
            has, such as a presence logit, are left out.

    Raises:
        UsageError: The bundle has no OpenVINO engine, or this version does not know its student.
    """
    name, size = bundle.manifest.provenance.student, bundle.manifest.input
    student = build_student(name, pretrained=False).for_engines().eval()
    stored = _read_convolutions(bundle)
    traced = trace(student, torch.zeros(1, 3, size.height, size.width))
    layers = convolutions(traced)
    if len(layers) != len(stored):
        layers = [conv for conv in layers if not conv.name.startswith("presence.")]
    if len(layers) != len(stored):
        raise UsageError(
            f"the weights of this bundle do not fit {name}",
            expected=f"{len(layers)} convolutions",
            got=f"{len(stored)}",
        )
    # The presence logit may come before or behind the last parts of the decoder.
    layers.sort(key=lambda conv: conv.name.startswith("presence."))
    for conv in layers:
        if conv.name.startswith("presence."):
            stored.append(stored.pop(_find(stored, student.get_submodule(conv.name))))
    state: dict[str, Tensor] = {}
    for conv, weights in zip(layers, stored, strict=True):
        _place(student, conv.name, _norm_name(conv.node), weights, state)
    return state


def _find(weights: Sequence[_Weights], module: Any) -> int:
    """Return the place of the first convolution with as many weights and outputs as a module."""
    size = (module.weight.numel(), len(module.weight))
    return next(
        place for place, one in enumerate(weights) if (one.weight.numel(), len(one.bias)) == size
    )


def _place(
    student: Student, name: str, norm: str, weights: _Weights, state: dict[str, Tensor]
) -> None:
    """Put a convolution's weight, and its bias or the BatchNorm that adds it, into a state dict."""
    module: Any = student.get_submodule(name)
    weight = weights.weight.reshape(module.weight.shape)
    state[f"{name}.weight"] = weight
    if module.bias is not None:
        state[f"{name}.bias"] = weights.bias
    if norm:
        plain: nn.BatchNorm2d = student.get_submodule(norm)  # type: ignore[assignment]
        state[f"{norm}.weight"] = torch.ones_like(weights.bias)
        state[f"{norm}.bias"] = weights.bias
        state[f"{norm}.running_mean"] = torch.zeros_like(weights.bias)
        state[f"{norm}.running_var"] = torch.full_like(weights.bias, 1 - plain.eps)


def _norm_name(conv: Node) -> str:
    """Return the name of the BatchNorm module after a convolution; empty without one."""
    users = list(conv.users)
    if len(users) != 1 or operator(users[0]) != "batch_norm":
        return ""
    return str(arguments(users[0])["weight"].target).removesuffix(".weight")


def _read_convolutions(bundle: Bundle) -> list[_Weights]:
    """Read every convolution of the OpenVINO INT8 engine, in the order of execution."""
    entry = next(
        (e for e in bundle.manifest.engines if (e.runtime, e.precision) == ("openvino", "int8")),
        None,
    )
    if entry is None:
        raise UsageError("the bundle has no OpenVINO engine", expected="an INT8 engine of OpenVINO")
    graph = read_ir([bundle.read(path) for path in entry.files])
    convolutions_by_number: dict[int, _Weights] = {}
    for op in graph.get_ordered_ops():
        sources = [value.get_node() for value in op.input_values()]
        if op.get_type_name() != "Add" or "onvolution" not in sources[0].get_type_name():
            continue
        number = op.get_friendly_name().removeprefix("conv2d_default").removeprefix("_")
        kernel = sources[0].input_value(1).get_node()
        integers, steps = (kernel.input_value(index).get_node() for index in (0, 1))
        integers = integers.input_value(0).get_node()
        weight = _constant(integers).astype(np.float32) * _constant(steps)
        convolutions_by_number[int(number or 0)] = _Weights(
            torch.from_numpy(weight), torch.from_numpy(_constant(sources[1]).reshape(-1))
        )
    return [convolutions_by_number[number] for number in sorted(convolutions_by_number)]


def _constant(op: Any) -> NDArray[Any]:
    values: NDArray[Any] = op.data
    return values.copy()
