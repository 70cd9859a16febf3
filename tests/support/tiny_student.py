"""A tiny student as an engine of each runtime.

Its score is the redness of a 4x4 block, `(2 R - G - B) / 128 - .5`, clipped to 0 .. 255/256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZE, CELL = 64, 4
WEIGHTS, BIAS = np.array([2.0, -1.0, -1.0]), -0.5


def redness(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The tiny student in numpy: (SIZE, SIZE, 3) RGB -> (SIZE / CELL, SIZE / CELL) scores."""
    blocks = image.reshape(SIZE // CELL, CELL, SIZE // CELL, CELL, 3).mean(axis=(1, 3))
    scores: NDArray[np.uint8] = np.clip(
        np.rint(256 * (blocks @ WEIGHTS / 128 + BIAS)), 0, 255
    ).astype(np.uint8)
    return scores


def scene(
    seed: int, *, height: int = SIZE, width: int = SIZE, polyp: bool = True
) -> NDArray[np.uint8]:
    """A gray picture, with a red disc where `polyp`."""
    generator = np.random.default_rng(seed)
    image = generator.integers(90, 110, (height, width, 3)).astype(np.uint8)
    if polyp:
        center = tuple(
            int(side * share)
            for side, share in zip((width, height), generator.uniform(0.3, 0.7, 2), strict=True)
        )
        cv2.circle(image, center, min(height, width) // 5, (220, 60, 50), cv2.FILLED)
    return image


def openvino_files(folder: Path) -> list[bytes]:
    """The tiny student as an OpenVINO IR: XML and weights."""
    import openvino as ov
    from openvino import opset13 as op

    image = op.parameter([1, SIZE, SIZE, 3], np.uint8)
    x = op.divide(op.subtract(op.convert(image, "f32"), np.float32(127)), np.float32(128))
    kernel = np.broadcast_to((WEIGHTS / CELL**2)[None, :, None, None], (1, 3, CELL, CELL)).astype(
        np.float32
    )
    channels_first = op.transpose(x, np.array([0, 3, 1, 2]))
    scores = op.convolution(channels_first, op.constant(kernel), [CELL] * 2, [0, 0], [0, 0], [1, 1])
    units = op.round(op.multiply(op.add(scores, np.float32(BIAS)), np.float32(256)), "half_to_even")
    model = ov.Model([op.convert(op.clamp(units, 0.0, 255.0), "u8")], [image], "redness")
    xml, weights = folder / "redness.xml", folder / "redness.bin"
    ov.serialize(model, xml, weights)
    return [xml.read_bytes(), weights.read_bytes()]


def _quantized(
    schema: Any, name: str, shape: list[int], kind: str, buffer: int, scale: float, zero: int
) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, shape, buffer
    tensor.type = getattr(schema.TensorType, kind)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
    return tensor


def tflite_files() -> list[bytes]:
    """The tiny student as a TFLite flatbuffer: one int8 convolution whose output saturates."""
    flatbuffers: Any = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    step = 2 / 126 / CELL**2
    kernel = np.broadcast_to(np.rint(WEIGHTS * 63).astype(np.int8), (1, CELL, CELL, 3))
    # The score is the same without the input's offset of 127, because the weights add up to 0.
    bias = np.array([round(BIAS * 128 / step)], np.int32)
    graph = schema.SubGraphT()
    graph.tensors = [
        _quantized(schema, "image", [1, SIZE, SIZE, 3], "INT8", 0, 1 / 128, -1),
        _quantized(schema, "kernel", [1, CELL, CELL, 3], "INT8", 1, step, 0),
        _quantized(schema, "bias", [1], "INT32", 2, step / 128, 0),
        _quantized(schema, "scores", [1, SIZE // CELL, SIZE // CELL, 1], "INT8", 0, 1 / 256, -128),
    ]
    convolution = schema.OperatorT()
    convolution.inputs, convolution.outputs = [0, 1, 2], [3]
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = schema.Conv2DOptionsT()
    convolution.builtinOptions.padding = schema.Padding.VALID
    convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = CELL
    graph.operators, graph.inputs, graph.outputs = [convolution], [0], [3]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.frombuffer(kernel.tobytes(), np.uint8)
    model.buffers[2].data = np.frombuffer(bias.tobytes(), np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return [bytes(builder.Output())]


def onnx_files() -> list[bytes]:
    """The tiny student as ONNX: the convolution of the TFLite file with QDQ nodes around it."""
    import onnx
    from onnx import helper, numpy_helper

    step = 2 / 126 / CELL**2
    kernel = np.broadcast_to(
        np.rint(WEIGHTS * 63).astype(np.int8)[None, :, None, None], (1, 3, CELL, CELL)
    )
    constants = {
        "step": np.float32(1 / 128),
        "mean": np.uint8(127),
        "kernel": np.ascontiguousarray(kernel),
        "kernel step": np.array([step], np.float32),
        "kernel zero": np.zeros(1, np.int8),
        "bias": np.array([round(BIAS * 128 / step)], np.int32),
        "bias step": np.array([step / 128], np.float32),
        "unit": np.float32(1 / 256),
        "zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["planes", "step", "mean"], ["x"]),
        helper.make_node(
            "DequantizeLinear", ["kernel", "kernel step", "kernel zero"], ["w"], axis=0
        ),
        helper.make_node("DequantizeLinear", ["bias", "bias step"], ["b"], axis=0),
        helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[CELL, CELL]),
        helper.make_node("QuantizeLinear", ["y", "unit", "zero"], ["scores"]),
    ]
    image, scores = (
        helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape)
        for name, shape in (
            ("image", [1, SIZE, SIZE, 3]),
            ("scores", [1, 1, SIZE // CELL, SIZE // CELL]),
        )
    )
    tensors = [
        numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()
    ]
    graph = helper.make_graph(nodes, "redness", [image], [scores], tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return [model.SerializeToString()]
