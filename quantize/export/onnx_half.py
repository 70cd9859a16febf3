"""The f32 ONNX engine in half precision, for devices that compute in it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edge.errors import TrainingError

LARGEST = float(np.finfo(np.float16).max)


def half_precision(model: bytes) -> bytes:
    """Return a float model with weights and activations in float16.

    Input and output stay uint8, and the levels of a frame, (x - 127) / 128, are exact in float16. A
    provider without a float16 kernel converts to float32 and back around it, as onnxruntime's CPU
    does on x86.

    Args:
        model: A plain model of `export_onnx`.

    Raises:
        TrainingError: A weight is too large for float16.
    """
    held = onnx.load_model_from_string(model)
    for tensor in held.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        largest = float(np.abs(values).max(initial=0))
        if largest > LARGEST:
            raise TrainingError(
                f"{tensor.name} does not fit half precision",
                expected=f"values up to {LARGEST:g}",
                got=f"{largest:g}",
                hint="leave the f16 engine out",
            )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for node in held.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    content: bytes = held.SerializeToString(deterministic=True)
    return content
