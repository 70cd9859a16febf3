"""The convolutions of a traced student, named by their modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from torch.fx import Node

    from quantize.graph.tracing import Trace


class Convolution(NamedTuple):
    """One convolution.

    Attributes:
        name: Name of its module, as in `named_modules`.
        kind: Kernel: `1x1`, `3x3`, `depthwise 5x5`.
        node: Node in the trace.
        quantizer: Index of its weight's quantizer; None without one.
    """

    name: str
    kind: str
    node: Node
    quantizer: int | None


def convolutions(traced: Trace) -> list[Convolution]:
    """List every convolution of a trace in the order of execution."""
    return [_described(node) for node in traced.module.graph.nodes if operator(node) == "conv2d"]


def _described(node: Node) -> Convolution:
    args = arguments(node)
    weight_node, index = args["weight"], None
    if operator(weight_node) == "quantizer":
        index = int(arguments(weight_node)["index"])
        weight_node = weight_node.all_input_nodes[0]
    channels, depth, height, width = weight_node.meta["val"].shape
    depthwise = "depthwise " if depth == 1 and args["groups"] == channels > 1 else ""
    name = str(weight_node.target).removesuffix(".weight")
    return Convolution(name, f"{depthwise}{height}x{width}", node, index)
