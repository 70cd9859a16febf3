"""Export of the canonical graph to OpenVINO IR: uint8 NHWC frame in, uint8 scores in 1/256 out."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.engines.openvino import load_openvino, openvino_core
from quantize.export.graph_writer import GraphWriter
from quantize.graph.grids import INPUT_GRID
from quantize.graph.op_rules import mean_settings, pool_settings
from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from torch.fx import Node

    from quantize.graph.canonical import Canonical

ov = load_openvino()
opset1, ops = ov.opset1, ov.opset13

_NO_COMPUTATION = ("Const", "Input", "Output", "Reorder", "Reshape")
"""Layers of an executed graph that only hold or move values."""


def export_openvino(canonical: Canonical) -> tuple[bytes, bytes]:
    """Export an OpenVINO IR that takes (1, H, W, 3) uint8 RGB and returns (1, 1, h, w) uint8.

    Args:
        canonical: Quantized graph (INT8 engine) or plain graph (f32 engine).

    Returns:
        Contents of `model.xml` and `model.bin`.
    """
    model = _OpenVinoWriter(canonical).model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _is_signed(node: Node) -> bool:
    """Whether a quantized value lies on a grid whose least integer is not the number 0."""
    source = node
    while operator(source) != "dequantize_per_tensor":
        if not source.all_input_nodes:
            return False
        source = source.all_input_nodes[0]
    return bool(arguments(source)["zero_point"] != -128)


def openvino_float_ops(xml: bytes, weights: bytes) -> list[str]:
    """List the operations, as `Kind xN`, that OpenVINO's CPU plugin executes in float."""
    core = openvino_core()
    compiled = core.compile_model(
        core.read_model(model=xml, weights=weights),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1},
    )
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind, precision = (str(info[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        if precision.startswith(("f", "bf")) and kind not in _NO_COMPUTATION:
            counts[kind] += 1
    return [f"{kind} x{count}" for kind, count in sorted(counts.items())]


class _OpenVinoWriter(GraphWriter):
    """`values` holds the OpenVINO output of every node."""

    def __init__(self, canonical: Canonical) -> None:
        super().__init__(canonical)
        self.values: dict[Node, Any] = {}

    def model(self) -> Any:
        self.walk()
        return ov.Model([ops.result(self.result)], [self.frame], "student")

    def enter(self, frame: Node) -> None:
        height, width = self.canonical.size
        self.frame = ops.parameter([1, height, width, 3], np.uint8, name="frame")
        # Convert, subtract, multiply is OpenVINO's pattern of a dequantized uint8 tensor with zero
        # point 127.
        value = ops.transpose(ops.convert(self.frame, "f32"), np.array([0, 3, 1, 2], np.int64))
        self.values[frame] = ops.multiply(ops.subtract(value, np.float32(127)), np.float32(1 / 128))

    def leave(self, scores: Node) -> None:
        levels = ops.round(ops.multiply(self.values[scores], np.float32(256)), "half_to_even")
        self.result = ops.convert(ops.clamp(levels, 0.0, 255.0), "u8")
        self.result.set_friendly_name("scores")

    def emit(self, node: Node) -> None:
        super().emit(node)
        self.values[node].set_friendly_name(node.name)

    def _quantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        value, scale, zero = self.values[args["input"]], args["scale"], args["zero_point"]
        if args["input"].op == "placeholder" and (scale, zero) == INPUT_GRID:
            self.values[node] = value  # already on this grid
            return
        low, high = np.float32((-128 - zero) * scale), np.float32((127 - zero) * scale)
        self.values[node] = ops.fake_quantize(value, low, high, low, high, 256)

    def _dequantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = self.values[args["input"]]  # fake_quantize includes both steps

    def _conv2d(self, node: Node, args: dict[str, Any]) -> None:
        source, kernel, groups = self.values[args["input"]], args["weight"], args["groups"]
        settings = (args["stride"], args["padding"], args["padding"], args["dilation"])
        quantized = kernel.op != "get_attr"
        source_weight = arguments(kernel)["input"] if quantized else kernel
        weight = self.array_of(source_weight)
        shape = (groups, len(weight) // groups, *weight.shape[1:]) if groups > 1 else weight.shape
        weight = ops.constant(weight.reshape(shape))
        if quantized:
            scale = self.array_of(arguments(kernel)["scales"])
            scale = scale.reshape(*shape[: 1 + (groups > 1)], 1, 1, 1)
            weight = ops.multiply(ops.convert(weight, "f32"), scale)
        product = (ops.group_convolution if groups > 1 else ops.convolution)(
            source, weight, *settings
        )
        self.values[node] = ops.add(product, self.array_of(args["bias"]).reshape(1, -1, 1, 1))

    def _relu(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.relu(self.values[args["self"]])

    def _hardtanh(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.clamp(
            self.values[args["self"]], float(args["min_val"]), float(args["max_val"])
        )

    def _add(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.add(self.term(args["self"]), self.term(args["other"]))

    def _mul(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.multiply(self.values[args["self"]], self.values[args["other"]])

    def _rsub(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.subtract(np.float32(1), self.values[args["self"]])

    def term(self, node: Node) -> Any:
        """Return a term of an addition, separated from the convolution that computed it.

        The CPU plugin fuses convolution, quantization and sum into one kernel that does not round
        in between, and a fifth of the sums differ by one step. A 1x1 pooling in integers prevents
        that fusion.
        """
        source = node
        while operator(source) in (
            "relu",
            "hardtanh",
            "quantize_per_tensor",
            "dequantize_per_tensor",
        ):
            source = source.all_input_nodes[0]
        value = self.values[node]
        if self.canonical.quantized and operator(source) == "conv2d":
            return opset1.max_pool(value, [1, 1], [0, 0], [0, 0], [1, 1])
        return value

    def _sigmoid(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.sigmoid(self.values[args["self"]])

    def _cat(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.concat([self.values[node] for node in args["tensors"]], args["dim"])

    def _pixel_shuffle(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = ops.depth_to_space(
            self.values[args["self"]], "depth_first", args["upscale_factor"]
        )

    def _max_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        kernel, stride, padding = pool_settings(args)
        self.values[node] = opset1.max_pool(
            self.values[args["self"]], stride, padding, padding, kernel
        )

    def _avg_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        kernel, stride, padding = mean_settings(args)
        value = self.values[args["self"]]
        if any(padding) and _is_signed(args["self"]):
            # The integer kernel pads with the integer 0, which stands for another number on a grid
            # of signed values. The plugin would fuse a pad into it, but for the pooling between.
            around = np.array([0, 0, *padding], np.int64)
            value = ops.pad(value, around, around, "constant", np.float32(0))
            value = opset1.max_pool(value, [1, 1], [0, 0], [0, 0], [1, 1])
            padding = [0, 0]
        self.values[node] = opset1.avg_pool(
            value, stride, padding, padding, kernel, exclude_pad=False
        )

    def _slice(self, node: Node, args: dict[str, Any]) -> None:
        begin, end, step, axes = (
            np.array([args[name]], np.int64) for name in ("start", "end", "step", "dim")
        )
        self.values[node] = ops.slice(self.values[args["self"]], begin, end, step, axes)

    def _upsample_nearest2d(self, node: Node, args: dict[str, Any]) -> None:
        self.resize(args, node, "nearest", "asymmetric")

    def _upsample_bilinear2d(self, node: Node, args: dict[str, Any]) -> None:
        self.resize(
            args, node, "linear_onnx", "align_corners" if args["align_corners"] else "half_pixel"
        )

    def resize(self, args: dict[str, Any], node: Node, mode: str, coordinates: str) -> None:
        self.values[node] = ops.interpolate(
            self.values[args["input"]],
            np.array(node.meta["shape"][2:], np.int64),
            mode,
            "sizes",
            axes=np.array([2, 3], np.int64),
            coordinate_transformation_mode=coordinates,
            nearest_mode="floor",
        )
