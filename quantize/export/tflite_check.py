"""Whether LiteRT opens an exported TFLite file: its integer kernels refuse extreme scales."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edge.errors import TrainingError
from quantize.export.tflite_file import BuiltinOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FACTOR = 256
"""Input scale times weight scale over output scale from which LiteRT refuses a layer."""
_PRODUCTS = (
    BuiltinOperator.CONV_2D,
    BuiltinOperator.DEPTHWISE_CONV_2D,
    BuiltinOperator.FULLY_CONNECTED,
    BuiltinOperator.MUL,
)


def refuse_unopenable(model: bytes) -> None:
    """Open a TFLite file as a device does.

    Raises:
        TrainingError: LiteRT refuses the file; the layer is named if its scales are the reason.
    """
    try:
        Interpreter(model_content=model).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        factor, layer = max(_factors(model), default=(0.0, ""))
        reason = str(error).strip().splitlines()[-1]
        if factor >= MAX_FACTOR:
            raise TrainingError(
                f"layer {layer} cannot be computed in integers: LiteRT refuses its TFLite engine",
                expected=f"a requantization factor below {MAX_FACTOR}",
                got=f"{factor:.3g}: some of its channels have far larger weights than others",
                hint="train with weights of similar size in all channels, or export as f32",
            ) from error
        raise TrainingError(
            "LiteRT does not open the exported TFLite engine", got=reason, hint="export as f32"
        ) from error


def _factors(model: bytes) -> Iterator[tuple[float, str]]:
    """Largest requantization factor and output name of each integer operation."""
    file = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = file.subgraphs[0]
    for operation in graph.operators:
        output = graph.tensors[operation.outputs[0]]
        scales = [_largest_scale(graph.tensors[index]) for index in operation.inputs[:2]]
        known_scales = [scale for scale in scales if scale is not None]
        out = _largest_scale(output)
        if not known_scales or not out:
            continue
        product = file.operatorCodes[operation.opcodeIndex].builtinCode in _PRODUCTS
        name = output.name.decode() if isinstance(output.name, bytes) else str(output.name)
        yield (math.prod(known_scales) if product else max(known_scales)) / out, name


def _largest_scale(tensor: Any) -> float | None:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    return float(np.max(quantization.scale))
