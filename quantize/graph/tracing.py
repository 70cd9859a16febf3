"""Trace a quantized student to an aten graph in which each NNCF quantizer is one marked node."""

from __future__ import annotations

import copy
import operator as builtin
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from nncf.torch.function_hook.wrapper import get_hook_storage, is_wrapped
from nncf.torch.quantization.layers import BaseQuantizer
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

PASS_THROUGH = frozenset(
    {
        "avg_pool2d",
        "cat",
        "getitem",
        "max_pool2d",
        "pixel_shuffle",
        "split",
        "upsample_bilinear2d",
        "upsample_nearest2d",
    }
)
"""Operations whose output lies on the grid of their input."""


def _identity(x: Tensor, index: int) -> Tensor:  # noqa: ARG001 - `index` is what the node is read for
    return x.clone()


_mark = torch.library.custom_op(
    "edge_difom::quantizer", _identity, mutates_args=(), schema="(Tensor x, int index) -> Tensor"
)
_mark.register_fake(_identity)


class Marker(nn.Module):
    """Stands in for quantizer number `index` while the student is traced."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, passed through the marked node."""
        marked: Tensor = torch.ops.edge_difom.quantizer(x, self.index)
        return marked


@dataclass(frozen=True)
class Trace:
    """A traced student.

    Attributes:
        module: aten graph with one input and one output; quantizers are `edge_difom.quantizer(x,
            index)`.
        quantizers: Quantizer of each index.
        names: Hook name of each index; the first one if a quantizer is shared.
        size: Height and width of the example.
    """

    module: GraphModule
    quantizers: list[BaseQuantizer]
    names: list[str]
    size: tuple[int, int]


def trace(model: nn.Module, example: Tensor) -> Trace:
    """Trace a plain or an NNCF-wrapped student.

    Args:
        model: The student; it is not changed.
        example: (1, 3, H, W) float input.
    """
    model = copy.deepcopy(model).eval()
    quantizers: list[BaseQuantizer] = []
    names: list[str] = []
    if is_wrapped(model):
        storage = get_hook_storage(model)
        indices: dict[int, int] = {}
        for name, module in list(storage.named_modules(remove_duplicate=False)):
            if not isinstance(module, BaseQuantizer):
                continue
            if id(module) not in indices:
                indices[id(module)] = len(quantizers)
                quantizers.append(module)
                names.append(name)
            storage.set_submodule(name, Marker(indices[id(module)]))
    with torch.no_grad():
        program = torch.export.export(model, (example,), strict=False)
    height, width = example.shape[-2:]
    return Trace(program.module(check_guards=False), quantizers, names, (int(height), int(width)))


def quantizers(quantized: nn.Module) -> dict[str, BaseQuantizer]:
    """Map hook names to quantizers; a shared one appears under each of its names."""
    modules = get_hook_storage(quantized).named_modules(remove_duplicate=False)
    return {name: module for name, module in modules if isinstance(module, BaseQuantizer)}


def operator(node: Node) -> str:
    """Return the operator's name, such as `conv2d` of `aten.conv2d.default`; empty without a call.

    In-place variants have the same name: `relu` for `aten.relu_.default`.
    """
    if node.target is builtin.getitem:
        return "getitem"
    if node.op != "call_function" or not hasattr(node.target, "_schema"):
        return ""
    return str(node.target).split(".")[-2].rstrip("_")


def arguments(node: Node) -> dict[str, Any]:
    """Return the arguments of a call by their names in the schema, with defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    bound = {
        argument.name: argument.default_value if argument.has_default_value() else None
        for argument in schema.arguments
    }
    bound.update(zip(bound, node.args, strict=False))
    bound.update(node.kwargs)
    return bound


def scale_groups(traced: Trace) -> list[list[str]]:
    """Group quantizers that must be equal because only pass-through operations separate them."""
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while parent.setdefault(node, node) is not node:
            node = parent[node]
        return node

    marked = [node for node in traced.module.graph.nodes if operator(node) == "quantizer"]
    for node in traced.module.graph.nodes:
        if operator(node) in PASS_THROUGH:
            for source in node.all_input_nodes:
                parent[root(source)] = root(node)
    for node in marked:
        source = node.all_input_nodes[0]
        if operator(source) in PASS_THROUGH:
            parent[root(node)] = root(source)
    groups: dict[Node, list[str]] = {}
    for node in marked:
        name = traced.names[int(arguments(node)["index"])]
        members = groups.setdefault(root(node), [])
        if name not in members:
            members.append(name)
    return [members for members in groups.values() if len(members) > 1]
