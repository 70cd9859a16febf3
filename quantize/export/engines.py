"""Every engine of a student (OpenVINO, TFLite, ONNX) from canonical graphs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.bundle.manifest import EngineEntry
from edge.errors import TrainingError, UsageError
from edge.util.files import atomic_write
from quantize.export.onnx import export_onnx, onnx_float_ops
from quantize.export.onnx_half import half_precision
from quantize.export.openvino import export_openvino, openvino_float_ops
from quantize.export.tflite import export_tflite, tflite_float_ops
from quantize.export.tflite_check import refuse_unopenable

if TYPE_CHECKING:
    from pathlib import Path

    from quantize.graph.canonical import Canonical

MIN_VERSIONS = {"openvino": "2025.2", "tflite": "1.4", "onnx": "1.21"}
FILES = {
    "openvino": ("model.xml", "model.bin"),
    "tflite": ("model.tflite",),
    "onnx": ("model.onnx",),
}
_REASONS = {
    "Subgraph": "the final sigmoid and the step to 1/256, "
    "which the CPU plugin fuses into one float kernel",
    "Math": "the final sigmoid, for which the CPU plugin has no integer kernel",
    "Pooling": "the mean over a padded map of signed values, which the CPU plugin's integer kernel "
    "would pad with a wrong number",
    "FakeQuantize": "the step back to integers behind such a mean",
    "Sub": "one minus an attention map, for which onnxruntime has no integer kernel; "
    "its result is exact",
    "DequantizeLinear": "the step into a subtraction that onnxruntime leaves in float",
    "QuantizeLinear": "the step out of a subtraction that onnxruntime leaves in float",
}


@dataclass(frozen=True)
class ExportedEngine:
    """Files of one engine.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32`, `bf16` or `f16`; `bf16` has the files of the f32 engine.
        contents: Contents of `FILES[runtime]`, in that order.
        float_ops: Operations that the runtime executes in float, each with the reason.
        planes: Maps below one another in its output.
    """

    runtime: str
    precision: str
    contents: list[bytes]
    float_ops: list[str]
    planes: int = 1

    @property
    def paths(self) -> list[str]:
        """Return the paths of the files, relative to a run or a bundle."""
        folder = {"int8": "engines", "f16": "engines-f16"}.get(self.precision, "engines-f32")
        return [f"{folder}/{self.runtime}/{name}" for name in FILES[self.runtime]]

    def entry(self) -> EngineEntry:
        """Return the engine's entry in a manifest."""
        return EngineEntry(
            runtime=self.runtime,
            precision=self.precision,
            files=self.paths,
            min_version=MIN_VERSIONS[self.runtime],
            float_ops=self.float_ops,
        )

    def write(self, folder: Path) -> None:
        """Write the files under `folder`."""
        for path, content in zip(self.paths, self.contents, strict=True):
            atomic_write(folder / path, content)


def export_engines(canonical: Canonical) -> list[ExportedEngine]:
    """Export a canonical graph for every runtime: INT8 if it is quantized, else f32.

    Raises:
        UsageError: A runtime cannot express an operation.
        TrainingError: The graph holds NaN or infinity, or a runtime would not open its engine.
    """
    for name, buffer in canonical.module.named_buffers():
        if buffer.is_floating_point() and not bool(buffer.isfinite().all()):
            raise TrainingError(
                f"{name} of the canonical graph is not finite",
                expected="finite weights",
                got="NaN or infinity",
                hint="train again with a smaller lr",
            )
    precision = "int8" if canonical.quantized else "f32"
    xml, weights = export_openvino(canonical)
    model, graph = export_tflite(canonical), export_onnx(canonical)
    refuse_unopenable(model)
    engines = [
        ExportedEngine(
            "openvino",
            precision,
            [xml, weights],
            _explain(openvino_float_ops(xml, weights), precision),
        ),
        ExportedEngine("tflite", precision, [model], _explain(tflite_float_ops(model), precision)),
        ExportedEngine("onnx", precision, [graph], _explain(onnx_float_ops(graph), precision)),
    ]
    return [replace(engine, planes=canonical.planes) for engine in engines]


def bf16_engine(f32: ExportedEngine) -> ExportedEngine:
    """Return the f32 OpenVINO engine as one that runs in bfloat16; both share their files.

    Args:
        f32: An engine from `export_engines` of a plain student.

    Raises:
        UsageError: The engine has a different runtime or precision.
    """
    if (f32.runtime, f32.precision) != ("openvino", "f32"):
        raise UsageError(
            "only OpenVINO runs f32 files in bf16",
            expected="openvino f32",
            got=f"{f32.runtime} {f32.precision}",
        )
    return replace(f32, precision="bf16", float_ops=["all: an f32 engine run in bf16"])


def f16_engine(f32: ExportedEngine) -> ExportedEngine:
    """Return the f32 ONNX engine in half precision, for CUDA, TensorRT and other devices.

    Args:
        f32: An engine from `export_engines` of a plain student.

    Raises:
        UsageError: The engine has a different runtime or precision.
        TrainingError: A weight is too large for float16.
    """
    if (f32.runtime, f32.precision) != ("onnx", "f32"):
        raise UsageError(
            "only the ONNX engine has a form in half precision",
            expected="onnx f32",
            got=f"{f32.runtime} {f32.precision}",
        )
    return replace(
        f32,
        precision="f16",
        contents=[half_precision(f32.contents[0])],
        float_ops=["all: a float engine in half precision"],
    )


def _explain(operations: list[str], precision: str) -> list[str]:
    if precision == "f32":
        return ["all: an f32 engine"]
    default = "the runtime has no integer kernel for it here"
    return [
        f"{operation}: {_REASONS.get(operation.split()[0], default)}" for operation in operations
    ]
