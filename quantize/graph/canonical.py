"""The canonical graph: one explicit quantized torch.fx graph that every exporter reads.

It takes (1, 3, H, W) float, `(rgb - 127) / 128`, and returns (1, 1, h, w) float scores. It uses few
operations:

- `quantized_decomposed.quantize_per_tensor` / `dequantize_per_tensor` to int8 on every tensor
  between operations; the first puts a uint8 frame on the grid of step 1/128 and zero point -1
  without loss;
- `conv2d` with all its arguments, its weight `dequantize_per_channel` of an int8 buffer in [-127,
  127], its bias a float buffer on the int32 accumulator's grid; BatchNorm is folded into weight
  scales and bias, which leaves the integers as they were trained;
- `relu`, `hardtanh` (fused by the exporters), `add`, `mul` of two maps (one may have a single
  channel), `rsub` from one, `sigmoid` of logits, `max_pool2d`, `avg_pool2d` over an odd number of
  cells, `upsample_nearest2d`, `upsample_bilinear2d`, `cat`, `slice` of channels (the pieces of a
  `split`), `pixel_shuffle`.

Without quantizers, the same walk gives the float student in these operations, with float weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, fx, nn

from edge.errors import UsageError
from quantize.graph.folding import fold
from quantize.graph.grids import (
    INPUT_GRID,
    LOGIT_GRID,
    SCORE_GRID,
    Grid,
    activation_grids,
    logit_nodes,
    round_bias,
    rounds_down,
    target_grid,
    tie_free_scales,
)
from quantize.graph.op_rules import pair, refuse_unknown, refuse_unusual
from quantize.graph.reference_interpreter import ExactInterpreter
from quantize.graph.tracing import PASS_THROUGH, arguments, operator, trace

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from quantize.graph.tracing import Trace

aten = torch.ops.aten
decomposed = torch.ops.quantized_decomposed


_EXACT = PASS_THROUGH - {"avg_pool2d", "upsample_bilinear2d"}
CALLS: dict[str, Any] = {
    "relu": aten.relu.default,
    "hardtanh": aten.hardtanh.default,
    "add": aten.add.Tensor,
    "mul": aten.mul.Tensor,
    "rsub": aten.rsub.Scalar,
    "sigmoid": aten.sigmoid.default,
    "avg_pool2d": aten.avg_pool2d.default,
    "max_pool2d": aten.max_pool2d.default,
    "upsample_nearest2d": aten.upsample_nearest2d.vec,
    "upsample_bilinear2d": aten.upsample_bilinear2d.vec,
    "cat": aten.cat.default,
    "pixel_shuffle": aten.pixel_shuffle.default,
}
_NOTHING = ("dropout", "clone", "contiguous", "detach")
"""Operations that change no value."""
_OPERATIONS = (*CALLS, *_NOTHING, "batch_norm", "conv2d", "quantizer", "split")


@dataclass(frozen=True)
class Canonical:
    """A student ready for export.

    Attributes:
        module: The graph, executable on (1, 3, H, W) float.
        size: Height and width of the input.
        quantized: True for the INT8 student, False for the float student.
        planes: Maps below one another in its scores (`edge.frame.PLANES`).
    """

    module: GraphModule
    size: tuple[int, int]
    quantized: bool
    planes: int = 1

    def scores(self, images: Tensor) -> Tensor:
        """Compute score maps (B, h, w) uint8 in 1/256 of a batch (B, 3, H, W) float."""
        exact = ExactInterpreter(self.module)
        with torch.no_grad():
            maps = torch.cat([exact.run(image[None].double()) for image in images])
        return (maps[:, 0] * 256).round().clamp(0, 255).to(torch.uint8)


def canonicalize(model: nn.Module, size: tuple[int, int]) -> Canonical:
    """Build the canonical graph of a student, plain or quantized by `quantize_student`.

    Args:
        model: Quantized or plain student; it is not changed.
        size: Height and width of the engine's input.

    Raises:
        UsageError: The student uses an operation outside the supported set, or one that no
            quantizer follows.
    """
    device = next(model.parameters()).device
    traced = trace(model, torch.zeros(1, 3, *size, device=device))
    return replace(_Builder(traced).build(), planes=int(getattr(model, "planes", 1)))


class _Builder:
    """Walks a trace once and builds the canonical graph from it."""

    def __init__(self, traced: Trace) -> None:
        self.traced = traced
        self.quantized = bool(traced.quantizers)
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.values: dict[Node, Node] = {}
        self.grids: dict[Node, Grid] = {}
        self.by_quantizer = activation_grids(traced)
        self.logits = logit_nodes(traced)
        self.constants = 0

    def build(self) -> Canonical:
        refuse_unknown(self.traced.module.graph.nodes, {*_OPERATIONS, "getitem"})
        for node in self.traced.module.graph.nodes:
            if node.op == "placeholder":
                frame = self.graph.placeholder("frame")
                self.values[node] = self.snap(frame, INPUT_GRID) if self.quantized else frame
            elif node.op == "output":
                self.finish(self.values[node.all_input_nodes[0]])
            elif node.op == "call_function" and node not in self.values:
                self.call(node)
        # A value that only the training loss reads has no quantizer, and no engine needs it.
        self.graph.eliminate_dead_code()
        module = fx.GraphModule(self.root, self.graph)
        module.graph.lint()
        _Shapes(module).run(torch.zeros(1, 3, *self.traced.size))
        return Canonical(module.eval(), self.traced.size, self.quantized)

    def call(self, node: Node) -> None:
        name = operator(node)
        if name == "conv2d":
            self.convolution(node)
        elif name == "quantizer":
            self.quantizer(node)
        elif name in CALLS:
            self.values[node] = self.plain(name, node)
        elif name == "split":
            self.values[node] = self.values[node.all_input_nodes[0]]
        elif name == "getitem" and operator(node.all_input_nodes[0]) == "split":
            self.values[node] = self.piece(node)
        elif name in _NOTHING:
            self.values[node] = self.values[node.all_input_nodes[0]]
        else:
            raise UsageError(
                f"the student uses {node.target} where it cannot be exported",
                expected="a BatchNorm right behind its convolution, the pieces of a split",
                got=node.name,
            )

    def plain(self, name: str, node: Node) -> Node:
        args = arguments(node)
        refuse_unusual(name, node, args)
        inputs = [self.values[source] for source in node.all_input_nodes]
        grids = {self.grids.get(value) for value in inputs}
        if self.quantized and name not in ("relu", "hardtanh") and (None in grids):
            raise _unquantized(node)
        mapped = fx.node.map_arg(tuple(args.values()), lambda source: self.values[source])
        call = self.graph.call_function(CALLS[name], mapped)
        if self.quantized and name in PASS_THROUGH:
            if len(grids) != 1:
                raise UsageError(
                    f"the inputs of {node.name} have different scales",
                    expected="one shared quantizer",
                    got=str(sorted(grid for grid in grids if grid)),
                )
            grid = grids.pop()
            if grid is not None and name in _EXACT:
                self.grids[call] = grid
            elif grid is not None and name == "avg_pool2d":
                return self.snap(call, grid)
        if self.quantized and name == "sigmoid" and grids != {LOGIT_GRID}:
            raise _unquantized(node)
        if self.quantized and name in ("sigmoid", "rsub"):
            return self.snap(call, SCORE_GRID)
        return self.snap(call, LOGIT_GRID) if self.quantized and node in self.logits else call

    def piece(self, node: Node) -> Node:
        """Add one of the equal pieces into which a `split` divides the channels."""
        split, index = node.args
        args = arguments(split)  # type: ignore[arg-type]
        if args["dim"] != 1 or not isinstance(index, int):
            raise UsageError(
                f"{node.name} splits along axis {args['dim']}", expected="the channels"
            )
        source = self.values[args["self"]]
        bounds = (index * args["split_size"], (index + 1) * args["split_size"])
        part = self.graph.call_function(aten.slice.Tensor, (source, 1, *bounds))
        if source in self.grids:
            self.grids[part] = self.grids[source]
        return part

    def quantizer(self, node: Node) -> None:
        source = node.all_input_nodes[0]
        if source not in self.values:
            return  # a weight quantizer: its convolution reads it
        value = self.values[source]
        index = int(arguments(node)["index"])
        _, _, scale, _ = self.traced.quantizers[index].get_parameters_for_torch_fq()
        if scale.numel() != 1:
            raise UsageError(
                f"{node.name} quantizes an activation per channel", expected="one scale per tensor"
            )
        grid = self.by_quantizer[index]
        self.values[node] = value if self.grids.get(value) == grid else self.snap(value, grid)

    def convolution(self, node: Node) -> None:
        args = arguments(node)
        value = self.values[args["input"]]
        folded = fold(self.traced, node)
        if not self.quantized:
            kernel, bias = self.constant(folded.weight.float()), folded.bias
        else:
            if value not in self.grids or folded.scale is None:
                raise _unquantized(node)
            source, target = self.grids[value], target_grid(node, self.by_quantizer, self.logits)
            scale = tie_free_scales(folded.scale, source, target)
            bias = round_bias(folded.bias, scale, source, down=rounds_down(node))
            kernel = self.graph.call_function(
                decomposed.dequantize_per_channel.default,
                (
                    self.constant(folded.integers(scale).to(torch.int8)),
                    self.constant(scale.float()),
                    self.constant(torch.zeros(len(scale), dtype=torch.int64)),
                    0, -127, 127, torch.int8,
                ),
            )  # fmt: skip
        convolved = self.graph.call_function(
            aten.conv2d.default,
            (
                value, kernel, self.constant(bias.float()),
                pair(args["stride"]), pair(args["padding"]), pair(args["dilation"]),
                args["groups"],
            ),
        )  # fmt: skip
        if self.quantized and node in self.logits:
            convolved = self.snap(convolved, LOGIT_GRID)
        self.values[node] = convolved
        if folded.norm is not None:
            self.values[folded.norm] = convolved

    def finish(self, logits: Node) -> None:
        if self.quantized and self.grids.get(logits) != LOGIT_GRID:
            logits = self.snap(logits, LOGIT_GRID)
        scores = self.graph.call_function(aten.sigmoid.default, (logits,))
        self.graph.output(self.snap(scores, SCORE_GRID) if self.quantized else scores)

    def snap(self, value: Node, grid: Grid) -> Node:
        settings = (grid.scale, grid.zero, -128, 127, torch.int8)
        q = self.graph.call_function(decomposed.quantize_per_tensor.default, (value, *settings))
        d = self.graph.call_function(decomposed.dequantize_per_tensor.default, (q, *settings))
        self.grids[d] = grid
        return d

    def constant(self, tensor: Tensor) -> Node:
        name = f"constant_{self.constants}"
        self.constants += 1
        self.root.register_buffer(name, tensor.contiguous())
        return self.graph.get_attr(name)


class _Shapes(fx.Interpreter):
    """Records the shape of every value under `node.meta["shape"]`."""

    def run_node(self, n: Node) -> Any:
        with torch.no_grad():
            value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)
        return value


def _unquantized(node: Node) -> UsageError:
    return UsageError(
        f"{node.name} would run in float: no quantizer on its input",
        expected="a quantizer on every tensor",
        hint="this student's structure is not covered; use another student",
    )
