"""The walk over the canonical graph that the exporters of all runtimes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from quantize.graph.canonical import CALLS
from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.fx import Node

    from quantize.graph.canonical import Canonical

OPERATORS = frozenset({*CALLS, "conv2d", "slice", "quantize_per_tensor", "dequantize_per_tensor"})
"""Every operator of a canonical graph that computes or moves values."""


class GraphWriter(ABC):
    """Visits the nodes of a canonical graph in their order.

    A subclass writes operator `x` in a method `_x(node, given)`, where `given` holds the arguments
    by name. A subclass that lacks a method of `OPERATORS` is refused when its module is imported,
    so no export fails halfway through a graph.

    Args:
        canonical: Quantized (INT8 engine) or plain (f32 engine).
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        missing = sorted(name for name in OPERATORS if not hasattr(cls, f"_{name}"))
        if missing:
            raise TypeError(f"{cls.__module__} does not write {', '.join(missing)}")

    def __init__(self, canonical: Canonical) -> None:
        self.canonical = canonical

    def walk(self) -> None:
        """Write every node: `enter` for the frame, `leave` for the scores, `emit` between them."""
        for node in self.canonical.module.graph.nodes:
            if node.op == "placeholder":
                self.enter(node)
            elif node.op == "output":
                self.leave(node.all_input_nodes[0])
            elif node.op == "call_function" and operator(node) != "dequantize_per_channel":
                self.emit(node)  # a convolution reads its own weights

    @abstractmethod
    def enter(self, frame: Node) -> None:
        """Write the input, a uint8 NHWC frame."""

    @abstractmethod
    def leave(self, scores: Node) -> None:
        """Write the output, uint8 scores in 1/256, from the last node."""

    def emit(self, node: Node) -> None:
        """Write one operator."""
        getattr(self, f"_{operator(node)}")(node, arguments(node))

    def array_of(self, node: Node) -> NDArray[Any]:
        """The array of a constant."""
        values: NDArray[Any] = getattr(self.canonical.module, str(node.target)).numpy()
        return values
