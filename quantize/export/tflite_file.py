"""Tensors, buffers and operations of one TFLite flatbuffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BuiltinOperator = schema.BuiltinOperator
TensorType = schema.TensorType

_TYPES = {
    np.dtype(np.int8): TensorType.INT8,
    np.dtype(np.int32): TensorType.INT32,
    np.dtype(np.float32): TensorType.FLOAT32,
}
# Convolutions of version 3 and other operations of version 2 are the first with int8; a reader
# checks that it knows them.
_VERSIONS = {
    BuiltinOperator.CONV_2D: 3,
    BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    BuiltinOperator.RESIZE_BILINEAR: 3,
    BuiltinOperator.DEPTH_TO_SPACE: 1,
    BuiltinOperator.QUANTIZE: 1,
    BuiltinOperator.DEQUANTIZE: 1,
}


def _buffer(content: bytes | None = None) -> Any:
    """Make a buffer on a 16-byte boundary, which the schema requires and `Pack` ignores."""
    buffer = schema.BufferT()

    def pack(builder: Any) -> Any:
        vector = None
        if content is not None:
            builder.StartVector(1, len(content), 16)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)

    buffer.Pack = pack
    return buffer


class TfliteFile:
    """Collects one subgraph and writes it.

    Attributes:
        tensors: Tensors added so far, by index.
    """

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self._buffers = [_buffer()]
        self._operations: list[Any] = []
        self._codes: list[int] = []
        self._zero_points: dict[bytes, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        *,
        scale: Sequence[float] | NDArray[Any] | None = None,
        zero: Sequence[int] | None = None,
        axis: int = 0,
    ) -> int:
        """Add a tensor without content and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = (
            name,
            [int(n) for n in shape],
            kind,
            0,
        )
        if scale is not None:
            points = [0] * len(scale) if zero is None else zero
            tensor.quantization = self._quantization(
                np.asarray(scale, np.float32), np.asarray(points, np.int64), axis
            )
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _quantization(self, scale: NDArray[Any], zero: NDArray[Any], axis: int) -> Any:
        """Build a grid; equal zero points are written once and shared by all tensors.

        Written separately, 8 bytes for each channel of each tensor and nearly all 0, they would be
        a fifteenth of a small student's file.
        """
        parameters = schema.QuantizationParametersT()

        def pack(builder: Any) -> Any:
            scales = builder.CreateNumpyVector(scale)
            key = zero.tobytes()
            if key not in self._zero_points:
                self._zero_points[key] = builder.CreateNumpyVector(zero)
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, scales)
            schema.QuantizationParametersAddZeroPoint(builder, self._zero_points[key])
            schema.QuantizationParametersAddQuantizedDimension(builder, axis)
            return schema.QuantizationParametersEnd(builder)

        parameters.Pack = pack
        return parameters

    def tensor_like(self, other: int, name: str, shape: Sequence[int]) -> int:
        """Add a tensor with the type and grid of an existing one."""
        index = self.tensor(name, shape, self.tensors[other].type)
        self.tensors[index].quantization = self.tensors[other].quantization
        return index

    def constant(
        self, name: str, values: NDArray[Any], *, scale: NDArray[Any] | None = None, axis: int = 0
    ) -> int:
        """Add a tensor with content and return its index."""
        index = self.tensor(name, values.shape, _TYPES[values.dtype], scale=scale, axis=axis)
        self._buffers.append(_buffer(np.ascontiguousarray(values).tobytes()))
        self.tensors[index].buffer = len(self._buffers) - 1
        return index

    def add(self, code: int, inputs: Sequence[int], output: int, options: Any) -> None:
        """Add an operation; `options` is its options table or None."""
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = (
            self._codes.index(code),
            list(inputs),
            [output],
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operations.append(operator)

    def finish(self, source: int, result: int) -> bytes:
        """Return the content of the file."""
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "student", self.tensors, self._operations
        graph.inputs, graph.outputs = [source], [result]
        model = schema.ModelT()
        model.version, model.description = 3, "edge-difom student"
        model.subgraphs, model.buffers, model.operatorCodes = [graph], self._buffers, []
        for code in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode = code, min(code, 127)
            entry.version = _VERSIONS.get(code, 2)
            model.operatorCodes.append(entry)
        self._zero_points.clear()
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
