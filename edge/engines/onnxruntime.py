"""ONNX models on onnxruntime: on TensorRT or CUDA if the build has them, else on the CPU."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from edge.engines.closed import closed
from edge.engines.formats import check_onnx
from edge.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import ImageU8

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers in the order in which they are tried."""

# TF32 would round what an f32 engine multiplies to 10 bits.
_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
_CONFIG = {
    # Weights beyond 7 bits overflow in the kernels of x86 CPUs without VNNI, unless this turns to
    # exact ones.
    "session.x64quantprecision": "1",
    # Within a frame threads wait for work spinning; between frames they sleep.
    "session.force_spinning_stop": "1",
    # The other format is not checked by `edge.engines.formats`.
    "session.load_model_format": "ONNX",
}
_ERRORS_ONLY = 3
_COMPUTE = ("Conv", "MatMul", "Gemm")


class Kernel(NamedTuple):
    """One operation as onnxruntime executes it.

    Attributes:
        kind: Its name; `QLinearConv` for a convolution in integers.
        provider: The execution provider that runs it.
        types: Element types of its inputs and outputs.
    """

    kind: str
    provider: str
    types: frozenset[str]


class OnnxEngine:
    """A `.onnx` with a uint8 NHWC input.

    Args:
        files: The `.onnx` alone.
        threads: CPU threads.
        providers: Execution providers, the preferred first; unavailable ones are skipped.

    Raises:
        BundleError: onnxruntime cannot load the file, or the model's input or output breaks the
            contract.
    """

    input_buffer = None

    name = "onnx"

    def __init__(
        self, files: Sequence[bytes], *, threads: int, providers: Sequence[str] = PROVIDERS
    ) -> None:
        import onnxruntime as ort

        if len(files) != 1:
            raise BundleError(
                "an ONNX engine has one file", expected="model.onnx", got=f"{len(files)} files"
            )
        check_onnx(files[0])
        self._model, self._threads, self._version = files[0], threads, str(ort.__version__)
        present = ort.get_available_providers()
        self._providers = [
            (name, _PROVIDER_OPTIONS.get(name, {})) for name in providers if name in present
        ]
        self._session = self._load(self._options())
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input_size, output_size = _sizes(inputs, outputs)
        # Both buffers are bound once: onnxruntime reads the frame and writes the scores in place.
        self._input: Any = np.empty(inputs[0].shape, np.uint8)
        buffer = np.empty(outputs[0].shape, np.uint8)
        self._output: Any = buffer.reshape(output_size)
        self._binding = self._session.io_binding()
        self._binding.bind_cpu_input(inputs[0].name, self._input)
        self._binding.bind_ortvalue_output(
            outputs[0].name, ort.OrtValue.ortvalue_from_numpy(buffer)
        )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self._input_size

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call."""
        if self._session is None:
            raise closed(self.name)
        np.copyto(self._input[0], image, casting="no")
        self._session.run_with_iobinding(self._binding)
        return cast("ImageU8", self._output)

    def settings(self) -> dict[str, Any]:
        """Return the effective settings; the first call profiles one frame.

        `precision` is the precision of most convolutions, `executed` counts all convolutions by
        precision, and `providers` names the execution providers that run them.
        """
        kernels = self.kernels
        convolutions = Counter(
            "int8" if kernel.types & {"int8", "uint8"} else "f32"
            for kernel in kernels
            if any(word in kernel.kind for word in _COMPUTE)
        )
        most = convolutions.most_common(1)
        options = self._session.get_session_options()
        return {
            "runtime": self.name,
            "version": self._version,
            "precision": most[0][0] if most else "none",
            "executed": dict(convolutions),
            "providers": sorted({kernel.provider for kernel in kernels}),
            "threads": int(options.intra_op_num_threads),
            "streams": 1,
            "graph_optimization": options.graph_optimization_level.name,
        }

    @cached_property
    def kernels(self) -> list[Kernel]:
        """Return the operations that onnxruntime executes on a frame, in order."""
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
            session = self._load(options)
            session.run(None, {session.get_inputs()[0].name: self._input})
            events = json.loads(Path(session.end_profiling()).read_bytes())
        kernels = []
        for event in events:
            if event.get("cat") == "Node" and "op_name" in event["args"]:
                args = event["args"]
                # Scales stand beside the operands of an integer kernel, as floats without an axis.
                tensors = [*args["input_type_shape"], *args["output_type_shape"]]
                types = frozenset(
                    kind for tensor in tensors for kind, shape in tensor.items() if len(shape) == 4
                )
                kernels.append(
                    Kernel(
                        args["op_name"], args["provider"].removesuffix("ExecutionProvider"), types
                    )
                )
        return kernels

    def close(self) -> None:
        """Release the session; the engine cannot be used afterwards."""
        # Buffers first: they are bound to the session.
        self._binding = self._output = self._input = self._session = None
        self._model = b""

    def _options(self) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = _ERRORS_ONLY
        for key, value in _CONFIG.items():
            options.add_session_config_entry(key, value)
        return options

    def _load(self, options: Any) -> Any:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # onnxruntime has one exception type per status, without a base below `Exception`.
        kinds = [kind for kind in vars(state).values() if isinstance(kind, type)]
        refusals: tuple[type[Exception], ...] = (RuntimeError, ValueError)
        refusals += tuple(kind for kind in kinds if issubclass(kind, Exception))
        try:
            return ort.InferenceSession(self._model, options, providers=self._providers)
        except refusals as error:
            raise BundleError(
                "onnxruntime cannot load the engine", got=str(error).strip()
            ) from error


def _sizes(inputs: list[Any], outputs: list[Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return input and output size of a model that fulfills the contract."""
    if len(inputs) == len(outputs) == 1 and inputs[0].type == outputs[0].type == "tensor(uint8)":
        frame, cells = list(inputs[0].shape), list(outputs[0].shape)
        fixed = all(isinstance(extent, int) and extent > 0 for extent in [*frame, *cells])
        if fixed and len(frame) == len(cells) == 4 and (frame[0], frame[3], cells[0]) == (1, 3, 1):
            # (1, h, w, 1) or (1, 1, h, w).
            if cells[3] == 1:
                return (frame[1], frame[2]), (cells[1], cells[2])
            if cells[1] == 1:
                return (frame[1], frame[2]), (cells[2], cells[3])
    raise BundleError(
        "the ONNX model breaks the contract",
        expected="one input uint8 [1,H,W,3], one output uint8 [1,h,w,1] or [1,1,h,w]",
        got="; ".join(f"{value.type} {value.shape}" for value in [*inputs, *outputs]),
    )
