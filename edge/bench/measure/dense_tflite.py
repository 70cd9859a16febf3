"""Write a chain of convolutions as a TFLite file, with the flatbuffer schema of LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Layer = tuple[str, int, int, "NDArray[np.int8]", float]
"""Name, kernel, stride, weights (O, kernel, kernel, I) and their scale."""


def dense_model(
    layers: Sequence[Layer], size: tuple[int, int], *, precision: str, highest: float
) -> bytes:
    """Build a model with input int8 [1, H, W, 3] and output [1, h, w, 1], ReLU6 after each layer.

    Args:
        layers: The layers in order; the last one has one output channel.
        size: Height and width of the input.
        precision: `int8`, or `f32` with a dequantization before the first layer.
        highest: Maximum of every activation.

    Raises:
        ModuleNotFoundError: ai-edge-litert is not installed.
    """
    return _DenseWriter(precision == "int8", highest).write(layers, size)


class _DenseWriter:
    """Collects tensors, buffers and operators of a TFLite file.

    Args:
        integer: Whether the model computes in integers instead of floats.
        highest: Maximum of every activation.
    """

    def __init__(self, integer: bool, highest: float) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.integer, self.highest = integer, highest
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]

    def write(self, layers: Sequence[Layer], size: tuple[int, int]) -> bytes:
        import flatbuffers  # type: ignore[import-untyped]

        schema = self.schema
        image = self.tensor("image", [1, *size, 3], "INT8", (1 / 128, -1))
        x, scale = (image, 1 / 128) if self.integer else (self.dequantized(image, size), 1.0)
        shape = [1, *size, 3]
        for number, (name, _, stride, integers, weight_scale) in enumerate(layers):
            last = number == len(layers) - 1
            shape = [1, shape[1] // stride, shape[2] // stride, len(integers)]
            # Scores are in 1/256 with a zero point of -128; other activations use the full range.
            step = 1 / 256 if last else self.highest / 255
            output = self.tensor(name, shape, "INT8" if self.integer else "FLOAT32", (step, -128))
            inputs = [x, *self.parameters(name, integers, weight_scale, scale)]
            self.convolution(inputs, output, stride)
            x, scale = output, step
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self.tensors,
            self.operators,
            [image],
            [x],
        )
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = [self.code("CONV_2D", 3), self.code("DEQUANTIZE", 2)]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def code(self, name: str, version: int) -> Any:
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version = version
        return code

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str,
        quantized: tuple[float, int] | None = None,
        values: NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor with its constant values, if any; return its index."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = getattr(self.schema.TensorType, kind)
        if quantized and kind != "FLOAT32":
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = (
                [quantized[0]],
                [quantized[1]],
            )
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def parameters(
        self, name: str, integers: NDArray[np.int8], weight_scale: float, scale: float
    ) -> list[int]:
        """Add the weights and a bias of zeros."""
        shape, channels = integers.shape, len(integers)
        if self.integer:
            weights = self.tensor(f"{name} weights", shape, "INT8", (weight_scale, 0), integers)
            zeros = np.zeros(channels, np.int32)
            return [
                weights,
                self.tensor(f"{name} bias", [channels], "INT32", (scale * weight_scale, 0), zeros),
            ]
        floats = (integers * weight_scale).astype(np.float32)
        weights = self.tensor(f"{name} weights", shape, "FLOAT32", values=floats)
        return [
            weights,
            self.tensor(
                f"{name} bias", [channels], "FLOAT32", values=np.zeros(channels, np.float32)
            ),
        ]

    def convolution(self, inputs: list[int], output: int, stride: int) -> None:
        schema = self.schema
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID if stride > 1 else schema.Padding.SAME
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, [output]
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        operator.builtinOptions = options
        self.operators.append(operator)

    def dequantized(self, image: int, size: tuple[int, int]) -> int:
        """Add a dequantization of the input to floats."""
        output = self.tensor("floats", [1, *size, 3], "FLOAT32")
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 1, [image], [output]
        self.operators.append(operator)
        return output
