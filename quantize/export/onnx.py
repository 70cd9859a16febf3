"""Export of the canonical graph to ONNX with explicit QDQ nodes.

The input is a uint8 NHWC frame, the output uint8 scores in 1/256.

Operations that compute stand between DequantizeLinear and QuantizeLinear, the form that onnxruntime
turns into integer kernels; operations that only move or select values work on the integers
directly. Activations are uint8 (int8 + 128), because onnxruntime's x86 kernels take unsigned
activations and signed weights.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.engines.onnxruntime import OnnxEngine
from quantize.export.graph_writer import GraphWriter
from quantize.graph.grids import INPUT_GRID, Grid
from quantize.graph.op_rules import mean_settings, pool_settings
from quantize.graph.tracing import arguments

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.fx import Node

    from quantize.graph.canonical import Canonical

OPSET, IR_VERSION = 13, 8
"""The first operator set with per-channel scales, and a file version that old runtimes read."""


def export_onnx(canonical: Canonical) -> bytes:
    """Export an ONNX model that takes (1, H, W, 3) uint8 RGB and returns (1, 1, h, w) uint8.

    Args:
        canonical: Quantized graph (INT8 engine) or plain graph (f32 engine).
    """
    return _OnnxWriter(canonical).write()


def onnx_float_ops(model: bytes) -> list[str]:
    """List the operations, as `Kind xN`, that onnxruntime's CPU provider executes in float.

    They are read from its profile of one frame.
    """
    engine = OnnxEngine([model], threads=1, providers=("CPUExecutionProvider",))
    counts = Counter(kernel.kind for kernel in engine.kernels if "float" in kernel.types)
    engine.close()
    return [f"{kind} x{count}" for kind, count in sorted(counts.items())]


class _OnnxWriter(GraphWriter):
    """The nodes and constants of the file.

    `real` holds the float tensor of each node; `integers` holds the uint8 tensor and the grid
    of each node that has one.
    """

    def __init__(self, canonical: Canonical) -> None:
        super().__init__(canonical)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.real: dict[Node, str] = {}
        self.integers: dict[Node, tuple[str, Grid]] = {}
        self.bounds: dict[Node, tuple[float, float]] = {}

    def write(self) -> bytes:
        height, width = self.canonical.size
        frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, height, width, 3])
        self.walk()
        scores = helper.make_tensor_value_info("scores", TensorProto.UINT8, self.shape)
        graph = helper.make_graph(
            self.nodes, "student", [frame], [scores], list(self.constants.values())
        )
        model = helper.make_model(
            graph,
            producer_name="edge-difom",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def enter(self, frame: Node) -> None:
        planes = self.add("Transpose", ["frame"], "frame/planes", perm=[0, 3, 1, 2])
        if self.canonical.quantized:
            self.integers[frame] = planes, INPUT_GRID
            return
        value = self.add("Cast", [planes], "frame/real", to=TensorProto.FLOAT)
        value = self.add("Sub", [value, self.number(127)], "frame/centered")
        self.real[frame] = self.add("Mul", [value, self.number(1 / 128)], "frame/normalized")

    def leave(self, scores: Node) -> None:
        self.shape = scores.meta["shape"]
        if self.canonical.quantized:
            self.add("Identity", [self.integers[scores][0]], "scores")
            return
        value = self.add("Mul", [self.real[scores], self.number(256)], "scores/units")
        value = self.add("Round", [value], "scores/rounded")
        value = self.add("Clip", [value, self.number(0), self.number(255)], "scores/clipped")
        self.add("Cast", [value], "scores", to=TensorProto.UINT8)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def number(self, value: float) -> str:
        return self.constant(f"number {value!r}", np.float32(value))

    def grid(self, grid: Grid) -> list[str]:
        """Return scale and zero point as uint8 constants."""
        name = f"grid {grid.scale!r} {grid.zero}"
        return [
            self.constant(f"{name}/scale", np.float32(grid.scale)),
            self.constant(f"{name}/zero", np.uint8(grid.zero + 128)),
        ]

    def value(self, node: Node) -> str:
        """Return the float tensor of a node; dequantizes it if it is held in integers."""
        if node not in self.real:
            name, grid = self.integers[node]
            self.real[node] = self.add(
                "DequantizeLinear", [name, *self.grid(grid)], f"{node.name}/real"
            )
        return self.real[node]

    def move(
        self, kind: str, node: Node, sources: list[Node], extra: tuple[str, ...] = (), **how: Any
    ) -> None:
        """Add an operation that only moves or selects values, on the integers if there are any."""
        if self.canonical.quantized:
            names, grid = (
                [self.integers[source][0] for source in sources],
                self.integers[sources[0]][1],
            )
            self.integers[node] = self.add(kind, [*names, *extra], node.name, **how), grid
        else:
            names = [self.real[source] for source in sources]
            self.real[node] = self.add(kind, [*names, *extra], node.name, **how)

    def compute(self, kind: str, node: Node, inputs: list[str], **how: Any) -> None:
        self.real[node] = self.add(kind, inputs, node.name, **how)

    def _quantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        source, grid = args["input"], Grid(args["scale"], args["zero_point"])
        if source in self.integers and self.integers[source][1] == grid:
            self.integers[node] = self.integers[source]
            return
        name = self.add("QuantizeLinear", [self.value(source), *self.grid(grid)], node.name)
        # An activation clamps rounded values as it clamps exact ones, so it is done in integers,
        # and not at all if the grid ends at the bound.
        limits = np.array(self.bounds.get(source, (-np.inf, np.inf))) / grid.scale
        low, high = np.clip(np.rint(limits) + grid.zero + 128, 0, 255).astype(np.uint8)
        if (low, high) != (0, 255):
            clamps = [self.constant(f"level {level}", level) for level in (low, high)]
            name = self.add("Clip", [name, *clamps], f"{node.name}/clamped")
        self.integers[node] = name, grid

    def _dequantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        self.integers[node] = self.integers[args["input"]]

    def _conv2d(self, node: Node, args: dict[str, Any]) -> None:
        kernel, bias = args["weight"], self.array_of(args["bias"])
        if self.canonical.quantized:
            unpacked = arguments(kernel)
            scale = self.array_of(unpacked["scales"])
            step = scale.astype(np.float64) * self.integers[args["input"]][1].scale
            weight = self.dequantized(
                f"{node.name}/weight", self.array_of(unpacked["input"]), scale
            )
            offset = self.dequantized(
                f"{node.name}/bias", np.round(bias / step).astype(np.int32), step
            )
        else:
            weight = self.constant(f"{node.name}/weight", self.array_of(kernel))
            offset = self.constant(f"{node.name}/bias", bias)
        self.compute(
            "Conv",
            node,
            [self.value(args["input"]), weight, offset],
            strides=args["stride"],
            pads=[*args["padding"], *args["padding"]],
            dilations=args["dilation"],
            group=args["groups"],
        )

    def dequantized(self, name: str, integers: NDArray[Any], scale: NDArray[Any]) -> str:
        """Add an integer constant with a scale per output channel, its first axis."""
        constant = self.constant(f"{name}/whole", integers)
        steps = self.constant(f"{name}/scale", scale.astype(np.float32))
        # int32 has no zero point.
        zero = (
            [self.constant(f"{name}/zero", np.zeros(len(scale), np.int8))]
            if integers.dtype == np.int8
            else []
        )
        return self.add("DequantizeLinear", [constant, steps, *zero], name, axis=0)

    def _relu(self, node: Node, args: dict[str, Any]) -> None:
        self.clamp(node, args["self"], 0.0, np.inf)

    def _hardtanh(self, node: Node, args: dict[str, Any]) -> None:
        self.clamp(node, args["self"], float(args["min_val"]), float(args["max_val"]))

    def clamp(self, node: Node, source: Node, low: float, high: float) -> None:
        if self.canonical.quantized:
            # The following quantizer clamps.
            self.real[node], self.bounds[node] = self.value(source), (low, high)
        elif high == np.inf:
            self.compute("Relu", node, [self.real[source]])
        else:
            self.compute("Clip", node, [self.real[source], self.number(low), self.number(high)])

    def _add(self, node: Node, args: dict[str, Any]) -> None:
        self.compute("Add", node, [self.value(args["self"]), self.value(args["other"])])

    def _mul(self, node: Node, args: dict[str, Any]) -> None:
        self.compute("Mul", node, [self.value(args["self"]), self.value(args["other"])])

    def _rsub(self, node: Node, args: dict[str, Any]) -> None:
        self.compute("Sub", node, [self.number(1), self.value(args["self"])])

    def _sigmoid(self, node: Node, args: dict[str, Any]) -> None:
        self.compute("Sigmoid", node, [self.value(args["self"])])

    def _avg_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        kernel, stride, padding = mean_settings(args)
        how = {"kernel_shape": kernel, "strides": stride, "pads": [*padding, *padding]}
        self.compute("AveragePool", node, [self.value(args["self"])], count_include_pad=1, **how)

    def _upsample_bilinear2d(self, node: Node, args: dict[str, Any]) -> None:
        coordinates = "align_corners" if args["align_corners"] else "half_pixel"
        inputs = [self.value(args["input"]), "", "", self.target_size(node)]
        self.compute(
            "Resize", node, inputs, mode="linear", coordinate_transformation_mode=coordinates
        )

    def _upsample_nearest2d(self, node: Node, args: dict[str, Any]) -> None:
        how = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        self.move("Resize", node, [args["input"]], ("", "", self.target_size(node)), **how)

    def target_size(self, node: Node) -> str:
        shape = node.meta["shape"]
        return self.constant(f"size {'x'.join(map(str, shape))}", np.array(shape, np.int64))

    def _max_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        kernel, stride, padding = pool_settings(args)
        how: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": stride,
            "pads": [*padding, *padding],
        }
        self.move("MaxPool", node, [args["self"]], **how)

    def _pixel_shuffle(self, node: Node, args: dict[str, Any]) -> None:
        self.move(
            "DepthToSpace", node, [args["self"]], blocksize=args["upscale_factor"], mode="CRD"
        )

    def _cat(self, node: Node, args: dict[str, Any]) -> None:
        self.move("Concat", node, list(args["tensors"]), axis=args["dim"])

    def _slice(self, node: Node, args: dict[str, Any]) -> None:
        bounds = [
            self.constant(f"index {args[name]}", np.array([args[name]], np.int64))
            for name in ("start", "end", "dim", "step")
        ]
        self.move("Slice", node, [args["self"]], tuple(bounds))
