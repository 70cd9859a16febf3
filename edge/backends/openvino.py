"""OpenVINO on the CPU."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge.device_info import architecture
from edge.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.types import ImageU8

_EXACT: dict[str, dict[str, Any]] = {"aarch64": {"LP_TRANSFORMS_MODE": False}}
"""Options of an architecture that keep the student's scores. On ARM, 8-bit convolutions gave others (seen in 2025.4
and 2026.2) or did not compile (2026.4); with this option the same integers are computed in float."""

_COMPUTE = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")


def load_openvino() -> Any:
    """OpenVINO, imported without its telemetry.

    Importing it sends an event to the network, from a process that is forked for it, wherever `openvino_telemetry` can be
    imported; where it cannot, OpenVINO takes a stub of its own.
    """
    telemetry = "openvino_telemetry"
    known = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        import openvino
    finally:
        del sys.modules[telemetry]
        if known is not None:
            sys.modules[telemetry] = known
    return openvino


class OpenVinoEngine:
    """An IR with a uint8 NHWC input, compiled for one stream.

    Args:
        files: `model.xml` and `model.bin`.
        threads: CPU threads.
        bf16: Let float operations run in bfloat16, which is another precision of the f32 files.

    Raises:
        BundleError: OpenVINO cannot load the files, the model's input or output is not the contract's, or it does
            not run in bfloat16 where that was asked for.
    """

    name = "openvino"

    def __init__(self, files: Sequence[bytes], *, threads: int, bf16: bool = False) -> None:
        ov = load_openvino()
        if len(files) != 2:
            raise BundleError(
                "an OpenVINO engine has two files", expected="model.xml, model.bin", got=f"{len(files)} files"
            )
        self._version = str(ov.get_version())
        try:
            model = ov.Core().read_model(model=files[0], weights=files[1])
            self._input_size, self._output_size = _sizes(model)
            self._compiled = ov.Core().compile_model(
                model,
                "CPU",
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    # The default on a CPU with AVX512_BF16 is bf16, other scores from the same file.
                    "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    **_EXACT.get(architecture(), {}),
                },
            )
        except RuntimeError as error:
            raise BundleError("OpenVINO cannot load the engine", got=str(error).strip()) from error
        if bf16 and (most := _most(self._executed())) != "bf16":
            raise BundleError(
                "OpenVINO does not run this engine in bf16 on this machine",
                expected="an f32 engine, and a CPU with bf16 instructions",
                got=f"most convolutions executed in {most}",
                mend="--precision f32",
            )
        self._request = self._compiled.create_infer_request()
        # The request owns both buffers; a frame is copied in (.01 ms) and the scores are read in place.
        self._input = self._request.get_input_tensor().data
        self._output = self._request.get_output_tensor().data.reshape(self._output_size)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self._input_size

    def infer(self, image: ImageU8) -> ImageU8:
        """Scores of an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, valid until the next call."""
        np.copyto(self._input[0], image, casting="no")
        self._request.infer()
        return cast("ImageU8", self._output)

    def settings(self) -> dict[str, Any]:
        """Effective settings as OpenVINO reports them.

        `precision` is that of most convolutions of the executed graph, `executed` counts all of them.
        """
        executed = self._executed()
        return {
            "runtime": self.name,
            "version": self._version,
            "precision": _most(executed),
            "executed": dict(executed),
            "precision_hint": self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "streams": int(self._compiled.get_property("NUM_STREAMS")),
            "performance_hint": str(self._compiled.get_property("PERFORMANCE_HINT")),
        }

    def _executed(self) -> Counter[str]:
        """Convolutions of the executed graph by their precision."""
        return Counter(
            node.get_rt_info()["runtimePrecision"].astype(str)
            for node in self._compiled.get_runtime_model().get_ops()
            if node.get_rt_info()["layerType"].astype(str) in _COMPUTE
        )

    def close(self) -> None:
        """Release the compiled model; the engine cannot be used afterwards."""
        for attribute in ("_output", "_input", "_request", "_compiled"):
            self.__dict__.pop(attribute, None)


def _most(executed: Counter[str]) -> str:
    """The precision of most convolutions as a manifest names it, `none` where there are none."""
    most = executed.most_common(1)
    return {"u8": "int8", "i8": "int8"}.get(most[0][0], most[0][0]) if most else "none"


def _sizes(model: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Input and output size of a model that keeps the contract."""
    described = [
        f"{port.get_element_type().to_string()} {port.get_partial_shape()}"
        for port in [*model.inputs, *model.outputs]
    ]
    if len(model.inputs) == len(model.outputs) == 1 and not model.is_dynamic():
        given, made = (tuple(port.get_shape()) for port in (model.input(), model.output()))
        types = {port.get_element_type().to_string() for port in (model.input(), model.output())}
        cells = [extent for extent in made if extent != 1]
        if types == {"u8"} and len(given) == 4 and given[0] == 1 and given[3] == 3 and len(made) == 4:
            # (1, h, w, 1) or (1, 1, h, w).
            height, width = (made[1], made[2]) if made[3] == 1 else (made[2], made[3])
            if int(np.prod(made)) == height * width and cells:
                return (given[1], given[2]), (height, width)
    raise BundleError(
        "the OpenVINO model breaks the contract",
        expected="one input u8 [1,H,W,3], one output u8 [1,h,w,1] or [1,1,h,w]",
        got="; ".join(described),
    )
