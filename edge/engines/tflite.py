"""TFLite models on the CPU: with LiteRT, or with the older tflite-runtime if LiteRT is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge.engines.closed import closed
from edge.engines.formats import check_tflite
from edge.engines.runtimes import Runtime, find_runtime
from edge.errors import BundleError, InferenceFault, MissingDependencyError
from edge.imaging.postprocess import UNITS
from edge.status import ReasonKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import ImageU8

_SIGN = np.uint8(0x80)
"""Flipping the highest bit converts between int8 and uint8 with zero points 128 apart."""


class LiteRtEngine:
    """A `.tflite` with an int8 or uint8 NHWC input.

    Args:
        files: The `.tflite` alone.
        threads: CPU threads.

    Raises:
        MissingDependencyError: tflite-runtime is installed with numpy 2, or lacks XNNPACK.
        BundleError: The runtime cannot load the file, or the model's input or output breaks the
            contract.
    """

    input_buffer = None

    name = "tflite"

    def __init__(self, files: Sequence[bytes], *, threads: int) -> None:
        self._runtime = _usable_runtime()
        if len(files) != 1:
            raise BundleError(
                "a TFLite engine has one file", expected="model.tflite", got=f"{len(files)} files"
            )
        check_tflite(files[0])
        self._threads = threads
        try:
            self._interpreter = _open_interpreter(self._runtime, files[0], threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise BundleError(
                f"{self._runtime.package} cannot load the engine", got=str(error).strip()
            ) from error
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        _check(inputs, outputs)
        input_detail, output_detail = inputs[0], outputs[0]
        self._input_size = (int(input_detail["shape"][1]), int(input_detail["shape"][2]))
        self._input_index, self._output_index = (
            int(input_detail["index"]),
            int(output_detail["index"]),
        )
        self._signed_input = input_detail["dtype"] == np.int8
        shape = [int(extent) for extent in output_detail["shape"]]
        self._output = np.empty(
            (shape[1], shape[2]) if shape[3] == 1 else (shape[2], shape[3]), np.uint8
        )

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self._input_size

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call.

        Raises:
            InferenceFault: A float model returned NaN or Inf, which scores in 1/256 would hide.
        """
        if self._interpreter is None:
            raise closed(self.name)
        # A view of the interpreter's memory must not outlive this call, so each call makes a new
        # one.
        into = self._interpreter.tensor(self._input_index)()[0].view(np.uint8)
        if self._signed_input:
            np.bitwise_xor(image, _SIGN, out=into, casting="no")
        else:
            np.copyto(into, image, casting="no")
        del into
        self._interpreter.invoke()
        self._copy_output(self._interpreter.tensor(self._output_index)())
        return self._output

    def settings(self) -> dict[str, Any]:
        """Return the effective settings.

        The runtime reports no execution precision, so `tensors` counts the graph's tensors by type.
        """
        maps = [
            str(np.dtype(t["dtype"]))
            for t in self._interpreter.get_tensor_details()
            if len(t["shape"]) == 4
        ]
        tensors = {kind: maps.count(kind) for kind in sorted(set(maps))}
        integers = tensors.get("int8", 0) + tensors.get("uint8", 0)
        return {
            "runtime": self.name,
            "package": self._runtime.package,
            "version": self._runtime.version,
            "precision": "int8" if 2 * integers > len(maps) else "f32",
            "tensors": tensors,
            "threads": self._threads,
            "streams": 1,
        }

    def close(self) -> None:
        """Release the interpreter; the engine cannot be used afterwards."""
        self._interpreter = None

    def _copy_output(self, output: NDArray[Any]) -> None:
        scores = output.reshape(self._output.shape)
        if scores.dtype == np.int8:
            np.bitwise_xor(scores.view(np.uint8), _SIGN, out=self._output)
        elif scores.dtype == np.uint8:
            np.copyto(self._output, scores)
        else:
            # A float model returns the sigmoid; convert it to the same units.
            if not np.isfinite(scores).all():
                raise InferenceFault(ReasonKind.DAMAGED, "the engine gave NaN or Inf")
            np.copyto(
                self._output, np.clip(np.rint(scores * UNITS), 0, UNITS - 1), casting="unsafe"
            )


def _usable_runtime() -> Runtime:
    runtime = find_runtime("tflite")
    if runtime is None:
        raise ModuleNotFoundError("no TFLite runtime is installed", name="ai_edge_litert")
    if runtime.conflict:
        raise MissingDependencyError(
            f"the TFLite runtime cannot run here: {runtime.conflict}",
            expected="numpy < 2 beside tflite-runtime",
            got=f"numpy {np.__version__}",
            hint="pip install 'edge-difom[tflite]', or 'edge-difom[tflite-runtime]' "
            "if that has no wheel for this system",
        )
    return runtime


def _open_interpreter(runtime: Runtime, model: bytes, threads: int) -> Any:
    if runtime.package == "tflite-runtime":
        from edge.engines.tflite_legacy import open_interpreter

        return open_interpreter(model, threads)
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=model, num_threads=threads)


def _check(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Refuse a model that breaks the contract."""
    if len(inputs) == len(outputs) == 1:
        input_detail, output_detail = inputs[0], outputs[0]
        shape, cells = list(input_detail["shape"]), list(output_detail["shape"])
        scale, zero = output_detail["quantization"]
        offset = {np.dtype(np.int8): -128, np.dtype(np.uint8): 0}.get(
            np.dtype(output_detail["dtype"])
        )
        units = output_detail["dtype"] == np.float32 or (
            offset == zero and abs(scale * UNITS - 1) < 1e-6
        )
        image = (
            len(shape) == 4
            and shape[0] == 1
            and shape[3] == 3
            and input_detail["dtype"] in (np.int8, np.uint8)
        )
        if image and units and len(cells) == 4 and cells[0] == 1 and 1 in (cells[1], cells[3]):
            return
    raise BundleError(
        "the TFLite model breaks the contract",
        expected="one input int8 or uint8 [1,H,W,3], one output in 1/256 (int8, uint8) or float32, "
        "[1,h,w,1] or [1,1,h,w]",
        got="; ".join(
            f"{np.dtype(t['dtype'])} {list(t['shape'])} {t['quantization']}"
            for t in [*inputs, *outputs]
        ),
    )
