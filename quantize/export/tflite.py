"""Export of the canonical graph to TFLite: uint8 NHWC frame in, uint8 scores in 1/256 out.

The file is written operation by operation (schema:
tensorflow/compiler/mlir/lite/schema/schema.fbs), so that its integers are those of the canonical
graph and no converter decides what stays float.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.errors import UsageError
from quantize.export.graph_writer import GraphWriter
from quantize.export.tflite_file import BuiltinOperator, TensorType, TfliteFile
from quantize.graph.grids import INPUT_GRID, SCORE_GRID, Grid
from quantize.graph.op_rules import mean_settings, pool_settings
from quantize.graph.tracing import arguments, operator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.fx import Node

    from quantize.graph.canonical import Canonical

_NONE, _RELU, _RELU6 = 0, 1, 3
_SAME, _VALID = 0, 1
_NHWC = {1: 3, -3: 3, 2: 1, -2: 1}
"""Axis of (B, C, H, W) that maps may be joined along -> axis of (B, H, W, C)."""


def export_tflite(canonical: Canonical) -> bytes:
    """Export a TFLite model that takes (1, H, W, 3) uint8 RGB and returns (1, h, w, 1) uint8.

    Args:
        canonical: Quantized graph (INT8 engine) or plain graph (f32 engine).

    Raises:
        UsageError: TFLite cannot express a convolution or a pixel shuffle.
    """
    return _TfliteWriter(canonical).write()


def tflite_float_ops(model: bytes) -> list[str]:
    """List the operations, as `KIND xN`, that a TFLite file computes in float."""
    graph = schema.ModelT.InitFromPackedBuf(model, 0)
    subgraph = graph.subgraphs[0]
    names = {
        value: name for name, value in vars(BuiltinOperator).items() if not name.startswith("_")
    }
    counts: Counter[str] = Counter()
    for operation in subgraph.operators:
        touched = [
            subgraph.tensors[index].type for index in (*operation.inputs, *operation.outputs)
        ]
        if TensorType.FLOAT32 in touched:
            counts[names[graph.operatorCodes[operation.opcodeIndex].builtinCode]] += 1
    return [f"{name} x{count}" for name, count in sorted(counts.items())]


class _TfliteWriter(GraphWriter):
    """`values` holds the tensor index of every node, `grids` the grid of every tensor."""

    def __init__(self, canonical: Canonical) -> None:
        super().__init__(canonical)
        self.quantized = canonical.quantized
        self.file = TfliteFile()
        self.values: dict[Node, int] = {}
        self.grids: dict[int, Grid | None] = {}

    def write(self) -> bytes:
        self.walk()
        return self.file.finish(self.frame, self.result)

    def enter(self, frame: Node) -> None:
        """Convert the uint8 frame to the int8 or float tensor that the graph works on."""
        height, width = self.canonical.size
        scale, zero = INPUT_GRID
        self.frame = self.file.tensor(
            "frame", (1, height, width, 3), TensorType.UINT8, scale=[scale], zero=[zero + 128]
        )
        output = self.tensor(frame, frame.meta["shape"], INPUT_GRID if self.quantized else None)
        if self.quantized:
            self.file.add(BuiltinOperator.QUANTIZE, [self.frame], output, schema.QuantizeOptionsT())
        else:
            options = schema.DequantizeOptionsT()
            self.file.add(BuiltinOperator.DEQUANTIZE, [self.frame], output, options)
        self.values[frame] = output

    def leave(self, scores: Node) -> None:
        index = self.values[scores]
        zero = SCORE_GRID.zero + 128
        self.result = self.file.tensor(
            "scores",
            self.file.tensors[index].shape,
            TensorType.UINT8,
            scale=[SCORE_GRID.scale],
            zero=[zero],
        )
        self.file.add(BuiltinOperator.QUANTIZE, [index], self.result, schema.QuantizeOptionsT())

    def emit(self, node: Node) -> None:
        if node not in self.values:  # nothing before it has absorbed it
            super().emit(node)

    def _quantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        # It quantizes the input frame, or a value that is already on this grid.
        self.values[node] = self.values[args["input"]]

    def _dequantize_per_tensor(self, node: Node, args: dict[str, Any]) -> None:
        self.values[node] = self.values[args["input"]]

    def _relu(self, node: Node, args: dict[str, Any]) -> None:
        raise UsageError(
            f"{node.name} cannot be exported to TFLite: {args['self'].name} has other users",
            expected="an activation that alone follows a convolution, a sum or a pooling",
        )

    _hardtanh = _relu

    def tensor(self, node: Node, shape: tuple[int, ...], grid: Grid | None) -> int:
        """Add a (1, h, w, c) activation for a (1, c, h, w) value."""
        nhwc = (shape[0], shape[2], shape[3], shape[1])
        if grid is None:
            index = self.file.tensor(node.name, nhwc, TensorType.FLOAT32)
        else:
            index = self.file.tensor(
                node.name, nhwc, TensorType.INT8, scale=[grid.scale], zero=[grid.zero]
            )
        self.grids[index] = grid
        return index

    def resolve_output(self, node: Node, inherit: int | None = None) -> tuple[int, int]:
        """Return output tensor and fused activation of `node`.

        An activation and a quantizer that follow it are absorbed.
        """
        absorbed, activation, grid = [node], _NONE, None if inherit is None else self.grids[inherit]
        for _ in range(2):
            users = list(absorbed[-1].users)
            name = operator(users[0]) if len(users) == 1 else ""
            if name in ("relu", "hardtanh") and activation == _NONE:
                activation = _activation(users[0])
            elif name == "quantize_per_tensor":
                args = arguments(users[0])
                grid = Grid(args["scale"], args["zero_point"])
            else:
                break
            absorbed.append(users[0])
        if self.quantized and grid is None:
            # LiteRT would end the process when it opens the file.
            raise UsageError(
                f"{node.name} would run in float: no quantizer follows it",
                expected="a quantizer behind every operation",
            )
        output = self.tensor(absorbed[-1], node.meta["shape"], grid)
        self.values.update(dict.fromkeys(absorbed, output))
        return output, activation

    def _conv2d(self, node: Node, args: dict[str, Any]) -> None:
        source, groups = self.values[args["input"]], int(args["groups"])
        kernel = args["weight"]
        scale = None
        if self.quantized:
            unpacked = arguments(kernel)
            kernel, scale = unpacked["input"], self.array_of(unpacked["scales"])
        weight, bias = self.array_of(kernel), self.array_of(args["bias"])
        order = _shuffled(node, len(weight))
        weight, bias = weight[order], bias[order]
        scale = None if scale is None else scale[order]
        depthwise = groups > 1
        if depthwise and (groups != len(weight) or weight.shape[1] != 1):
            raise UsageError(
                f"{node.name} has {groups} groups",
                expected="1, or one per channel",
                got=str(weight.shape),
            )
        # OHWI for a convolution, 1HWC for a depthwise one.
        weight = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        axis = 3 if depthwise else 0
        inputs = [source]
        grid = self.grids[source]
        if scale is None or grid is None:
            inputs.append(self.file.constant(f"{node.name}/weight", weight))
            inputs.append(self.file.constant(f"{node.name}/bias", bias))
        else:
            step = scale.astype(np.float64) * grid.scale
            accumulated = np.round(bias / step).astype(np.int32)
            inputs.append(self.file.constant(f"{node.name}/weight", weight, scale=scale, axis=axis))
            inputs.append(self.file.constant(f"{node.name}/bias", accumulated, scale=step, axis=0))
        inputs[0], padding = self.pad(node, args, source)
        output, activation = self.resolve_output(node)
        options = (schema.DepthwiseConv2DOptionsT if depthwise else schema.Conv2DOptionsT)()
        options.padding, options.fusedActivationFunction = padding, activation
        options.strideH, options.strideW = args["stride"]
        options.dilationHFactor, options.dilationWFactor = args["dilation"]
        if depthwise:
            options.depthMultiplier = 1
        code = BuiltinOperator.DEPTHWISE_CONV_2D if depthwise else BuiltinOperator.CONV_2D
        self.file.add(code, inputs, output, options)

    def pad(self, node: Node, args: dict[str, Any], source: int) -> tuple[int, int]:
        """Add padding other than SAME and VALID, which TFLite lacks, as a separate operation."""
        kernel = args["weight"].meta["shape"][2:]
        spans = [d * (k - 1) for d, k in zip(args["dilation"], kernel, strict=True)]
        if args["padding"] == [0, 0]:
            return source, _VALID
        if args["stride"] == [1, 1] and [2 * p for p in args["padding"]] == spans:
            return source, _SAME
        return self.border(node, source, args["padding"]), _VALID

    def border(self, node: Node, source: int, padding: list[int], *, lowest: bool = False) -> int:
        """Add a border of zeros, or of the lowest possible value, to `source`."""
        top, left = padding
        batch, height, width, channels = self.file.tensors[source].shape
        padded = self.file.tensor_like(
            source, f"{node.name}/padded", (batch, height + 2 * top, width + 2 * left, channels)
        )
        self.grids[padded] = self.grids[source]
        amounts = self.file.constant(
            f"{node.name}/padding", np.array([[0, 0], [top, top], [left, left], [0, 0]], np.int32)
        )
        if not lowest:
            self.file.add(BuiltinOperator.PAD, [source, amounts], padded, schema.PadOptionsT())
            return padded
        grid = self.grids[source]
        if grid is None:
            value = self.file.constant(
                f"{node.name}/lowest", np.array([np.finfo(np.float32).min], np.float32)
            )
        else:
            value = self.file.constant(f"{node.name}/lowest", np.array([-128], np.int8))
            self.file.tensors[value].quantization = self.file.tensors[source].quantization
        self.file.add(
            BuiltinOperator.PADV2, [source, amounts, value], padded, schema.PadV2OptionsT()
        )
        return padded

    def _add(self, node: Node, args: dict[str, Any]) -> None:
        output, activation = self.resolve_output(node)
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activation
        self.file.add(
            BuiltinOperator.ADD,
            [self.values[args["self"]], self.values[args["other"]]],
            output,
            options,
        )

    def _mul(self, node: Node, args: dict[str, Any]) -> None:
        output, activation = self.resolve_output(node)
        options = schema.MulOptionsT()
        options.fusedActivationFunction = activation
        factors = [self.values[args["self"]], self.values[args["other"]]]
        self.file.add(BuiltinOperator.MUL, factors, output, options)

    def _rsub(self, node: Node, args: dict[str, Any]) -> None:
        output, _ = self.resolve_output(node)
        if self.quantized:
            # XNNPACK accepts scales of up to 2^8 times the output's, and a step of 1 would just
            # exceed that.
            steps, value = np.array([1 / 64], np.float32), np.full((1, 1, 1, 1), 64, np.int8)
            one = self.file.constant(f"{node.name}/one", value, scale=steps)
        else:
            one = self.file.constant(f"{node.name}/one", np.ones((1, 1, 1, 1), np.float32))
        sources = [one, self.values[args["self"]]]
        self.file.add(BuiltinOperator.SUB, sources, output, schema.SubOptionsT())

    def _sigmoid(self, node: Node, args: dict[str, Any]) -> None:
        output, _ = self.resolve_output(node)
        self.file.add(BuiltinOperator.LOGISTIC, [self.values[args["self"]]], output, None)

    def _max_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        source = self.values[args["self"]]
        kernel, stride, padding = pool_settings(args)
        if padding != [0, 0]:
            source = self.border(node, source, padding, lowest=True)
        self.pool(node, BuiltinOperator.MAX_POOL_2D, source, kernel, stride)

    def _avg_pool2d(self, node: Node, args: dict[str, Any]) -> None:
        source = self.values[args["self"]]
        kernel, stride, padding = mean_settings(args)
        if padding != [0, 0]:
            source = self.border(node, source, padding)
        self.pool(node, BuiltinOperator.AVERAGE_POOL_2D, source, kernel, stride)

    def pool(
        self, node: Node, code: int, source: int, kernel: list[int], stride: list[int]
    ) -> None:
        output, activation = self.resolve_output(node, source)
        options = schema.Pool2DOptionsT()
        options.padding, options.fusedActivationFunction = _VALID, activation
        options.filterHeight, options.filterWidth = kernel
        options.strideH, options.strideW = stride
        self.file.add(code, [source], output, options)

    def _slice(self, node: Node, args: dict[str, Any]) -> None:
        source = self.values[args["self"]]
        output, _ = self.resolve_output(node, source)
        begin = self.file.constant(
            f"{node.name}/begin", np.array([0, 0, 0, args["start"]], np.int32)
        )
        size = self.file.constant(
            f"{node.name}/size", np.array(self.file.tensors[output].shape, np.int32)
        )
        self.file.add(BuiltinOperator.SLICE, [source, begin, size], output, schema.SliceOptionsT())

    def _cat(self, node: Node, args: dict[str, Any]) -> None:
        if args["dim"] not in _NHWC:
            raise UsageError(
                f"{node.name} joins along axis {args['dim']}", expected="channels or rows"
            )
        sources = [self.values[source] for source in args["tensors"]]
        output, activation = self.resolve_output(node, sources[0])
        options = schema.ConcatenationOptionsT()
        options.axis, options.fusedActivationFunction = _NHWC[args["dim"]], activation
        self.file.add(BuiltinOperator.CONCATENATION, sources, output, options)

    def _pixel_shuffle(self, node: Node, args: dict[str, Any]) -> None:
        source = self.values[args["self"]]
        output, _ = self.resolve_output(node, source)
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = args["upscale_factor"]
        self.file.add(BuiltinOperator.DEPTH_TO_SPACE, [source], output, options)

    def _upsample_nearest2d(self, node: Node, args: dict[str, Any]) -> None:
        self.resize(
            node,
            args,
            BuiltinOperator.RESIZE_NEAREST_NEIGHBOR,
            schema.ResizeNearestNeighborOptionsT(),
        )

    def _upsample_bilinear2d(self, node: Node, args: dict[str, Any]) -> None:
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners = args["align_corners"]
        options.halfPixelCenters = not args["align_corners"]
        self.resize(node, args, BuiltinOperator.RESIZE_BILINEAR, options)

    def resize(self, node: Node, args: dict[str, Any], code: int, options: Any) -> None:
        source = self.values[args["input"]]
        output, _ = self.resolve_output(node, source)
        size = self.file.constant(f"{node.name}/size", np.array(node.meta["shape"][2:], np.int32))
        self.file.add(code, [source, size], output, options)


def _activation(node: Node) -> int:
    if operator(node) == "relu":
        return _RELU
    args = arguments(node)
    if (args["min_val"], args["max_val"]) != (0, 6):
        raise UsageError(
            f"{node.name} clamps to {args['min_val']}..{args['max_val']}",
            expected="ReLU or ReLU6",
        )
    return _RELU6


def _shuffled(node: Node, channels: int) -> NDArray[np.intp]:
    """Return the order of a convolution's output channels for TFLite's depth-to-space.

    TFLite takes the position in the block first; torch takes it last.
    """
    end = node
    while len(end.users) == 1:
        end = next(iter(end.users))
        name = operator(end)
        if name == "pixel_shuffle":
            factor = arguments(end)["upscale_factor"]
            blocks = np.arange(channels).reshape(channels // factor**2, factor**2)
            return blocks.T.reshape(-1)
        if name not in ("relu", "hardtanh", "quantize_per_tensor", "dequantize_per_tensor"):
            break
    return np.arange(channels)
