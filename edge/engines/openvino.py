"""OpenVINO: on the CPU, a GPU, an NPU, or the first of them that works."""

from __future__ import annotations

import io
import sys
from collections import Counter
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge.engines.closed import closed
from edge.engines.formats import check_ir
from edge.engines.openvino_cache import CompiledCache
from edge.errors import BundleError, UsageError
from edge.util.host import architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import ImageU8

_PREFERRED = ("GPU", "NPU", "CPU")
"""Devices in the order in which `AUTO` tries them.

OpenVINO's own AUTO plugin is not used: it may change the device, and so the scores, while it runs,
and it reports fewer settings.
"""
_EXACT: dict[str, dict[str, Any]] = {"aarch64": {"LP_TRANSFORMS_MODE": False}}
"""Options per architecture that keep the scores equal to the student's.

On ARM, 8-bit convolutions gave different scores (seen in 2025.4 and 2026.2) or did not compile
(2026.4); with this option the same integers are computed in float.
"""

_IDENTITY = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
"""Properties of a device on which a compiled model depends."""

_COMPUTE = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")


def load_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    If `openvino_telemetry` can be imported, importing OpenVINO forks a process that sends an event
    to the network; otherwise OpenVINO uses a stub of its own.
    """
    telemetry = "openvino_telemetry"
    loaded = sys.modules.get(telemetry)
    # None in `sys.modules` makes an import fail as if the module did not exist.
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[telemetry]
        if loaded is not None:
            sys.modules[telemetry] = loaded
    return openvino


@cache
def openvino_core() -> Any:
    """Return OpenVINO's core object: one per process, kept until the process ends.

    On CPUs with AVX-512 the CPU plugin installs an alternate signal stack for the thread that loads
    it, and frees that memory when the plugin is unloaded from any thread. A later signal to the
    first thread then ends the process by SIGSEGV (seen in 2026.4.1).
    """
    return load_openvino().Core()


def read_ir(files: Sequence[bytes]) -> Any:
    """Read an IR from memory, as an `openvino.Model`.

    Args:
        files: `model.xml` and `model.bin`.

    Raises:
        BundleError: The first file is of another format; OpenVINO would guess which.
        RuntimeError: OpenVINO cannot read the files.
    """
    check_ir(files)
    return openvino_core().read_model(model=files[0], weights=files[1])


class OpenVinoEngine:
    """An IR with a uint8 NHWC input, compiled for one stream.

    Args:
        files: `model.xml` and `model.bin`.
        threads: CPU threads.
        bf16: Run the float operations of the f32 files in bfloat16.
        device: `CPU`, `GPU`, `NPU`, a numbered device as OpenVINO names it (`GPU.1`), or `AUTO`:
            the first device that compiles the model.
        cache: Folder of compiled models; None always compiles.

    Raises:
        UsageError: This machine has no such device.
        BundleError: OpenVINO cannot load the files, the model's input or output breaks the
            contract, or the model does not run in the requested bfloat16.
    """

    input_buffer = None

    name = "openvino"

    def __init__(
        self,
        files: Sequence[bytes],
        *,
        threads: int,
        bf16: bool = False,
        device: str = "CPU",
        cache: Path | None = None,
    ) -> None:
        ov = load_openvino()
        if len(files) != 2:
            raise BundleError(
                "an OpenVINO engine has two files",
                expected="model.xml, model.bin",
                got=f"{len(files)} files",
            )
        check_ir(files)
        self._version = str(ov.get_version())
        self._core = openvino_core()
        # Listing other devices loads their plugins, which takes longer than anything but compiling.
        available = ["CPU"] if device == "CPU" else list(self._core.available_devices)
        self._cache = None if cache is None else CompiledCache(cache)
        self._compiled = self._compile(files, candidates(device, available), threads, bf16)
        self._input_size, self._output_size = _sizes(self._compiled)
        if bf16 and (most := _most(self._executed())) != "bf16":
            raise BundleError(
                "OpenVINO does not run this engine in bf16 on this machine",
                expected="an f32 engine, and a CPU with bf16 instructions",
                got=f"most convolutions executed in {most}",
                hint="choose the precision f32",
                code="bf16-not-executed",
            )
        self._request = self._compiled.create_infer_request()
        # The request owns both buffers: a frame is copied in (0.01 ms), the scores are read in
        # place.
        self._input = self._request.get_input_tensor().data
        self._output = self._request.get_output_tensor().data.reshape(self._output_size)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self._input_size

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call."""
        if self._request is None:
            raise closed(self.name)
        np.copyto(self._input[0], image, casting="no")
        self._request.infer()
        return cast("ImageU8", self._output)

    def settings(self) -> dict[str, Any]:
        """Return the effective settings as OpenVINO reports them.

        `precision` is the precision of most convolutions in the executed graph; `executed` counts
        all convolutions by precision.
        """
        executed = self._executed()
        hint = self._property("INFERENCE_PRECISION_HINT")
        return {
            "runtime": self.name,
            "version": self._version,
            "device": ", ".join(self._property("EXECUTION_DEVICES") or ()),
            "precision": _most(executed),
            "executed": dict(executed),
            "precision_hint": None if hint is None else hint.to_string(),
            "threads": self._property("INFERENCE_NUM_THREADS"),
            "streams": self._property("NUM_STREAMS"),
            "performance_hint": str(self._property("PERFORMANCE_HINT")),
            "from_cache": self._from_cache,
        }

    def _compile(
        self, files: Sequence[bytes], devices: Sequence[str], threads: int, bf16: bool
    ) -> Any:
        """Load the model on the first device that accepts it."""
        refused: RuntimeError | None = None
        for device in devices:
            try:
                return self._load(files, device, _options(device, threads, bf16))
            except RuntimeError as error:  # noqa: PERF203 - each device may refuse by itself
                refused = error
        raise BundleError("OpenVINO cannot load the engine", got=str(refused).strip()) from refused

    def _load(self, files: Sequence[bytes], device: str, options: dict[str, Any]) -> Any:
        """Load the model on a device, from the cache or by compiling it."""
        key, self._from_cache = "", False
        if self._cache is not None:
            about = [self._core.get_property(device, name) for name in _IDENTITY]
            key = CompiledCache.key(files, options, self._version, device, *map(str, about))
            blob = self._cache.load(key)
            if blob is not None:
                try:
                    compiled = self._core.import_model(io.BytesIO(blob), device, options)
                except (RuntimeError, TypeError):
                    pass  # a different build of the same version: compile again and replace it
                else:
                    self._cache.confirm(key)
                    self._from_cache = True
                    return compiled
        compiled = self._core.compile_model(read_ir(files), device, options)
        if self._cache is not None:
            exported = io.BytesIO()
            with suppress(RuntimeError):  # not every device can export a model
                compiled.export_model(exported)
                self._cache.write(key, exported.getvalue())
        return compiled

    def _property(self, name: str) -> Any:
        """Return a property of the compiled model, None if its device lacks that property."""
        try:
            return self._compiled.get_property(name)
        except RuntimeError:
            return None

    def _executed(self) -> Counter[str]:
        """Count the executed convolutions by precision; empty if the device hides its graph."""
        try:
            nodes = self._compiled.get_runtime_model().get_ops()
        except RuntimeError:
            return Counter()
        return Counter(
            node.get_rt_info()["runtimePrecision"].astype(str)
            for node in nodes
            if node.get_rt_info()["layerType"].astype(str) in _COMPUTE
        )

    def close(self) -> None:
        """Release the compiled model; the engine cannot be used afterwards."""
        # Buffers first: the request owns their memory.
        self._output = self._input = self._request = self._compiled = self._core = None


def candidates(requested: str, available: Sequence[str]) -> list[str]:
    """Return the devices to try, the preferred one first.

    Args:
        requested: The requested device, as in `OpenVinoEngine`.
        available: Devices as OpenVINO names them: `CPU`, `GPU`, or `GPU.0` and `GPU.1` if there are
            two.

    Raises:
        UsageError: No available device matches.
    """
    if requested == "AUTO":
        preferred = [device for device in available if device.partition(".")[0] in _PREFERRED]
        return sorted(preferred, key=lambda device: _PREFERRED.index(device.partition(".")[0]))
    if requested in available or requested in [device.partition(".")[0] for device in available]:
        return [requested]
    raise UsageError(
        f"OpenVINO finds no {requested} on this machine",
        expected=" | ".join([*available, "AUTO"]),
        got=requested,
        hint="choose the engine openvino:AUTO",
        code="device-not-found",
    )


def _options(device: str, threads: int, bf16: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    kind = device.partition(".")[0]
    if kind != "NPU":  # an NPU computes floats only in f16
        # The default is bf16 on a CPU with AVX512_BF16 and f16 on a GPU, which would change the
        # scores.
        options["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
    if kind == "CPU":
        options |= {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            **_EXACT.get(architecture(), {}),
        }
    return options


def _most(executed: Counter[str]) -> str:
    """Return the precision of most convolutions as a manifest names it, `none` without any."""
    most = executed.most_common(1)
    return {"u8": "int8", "i8": "int8"}.get(most[0][0], most[0][0]) if most else "none"


def _sizes(model: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return input and output size of a compiled model that fulfills the contract."""
    ports = [*model.inputs, *model.outputs]
    one_each = len(model.inputs) == len(model.outputs) == 1
    if one_each and not any(port.get_partial_shape().is_dynamic for port in ports):
        input_shape, output_shape = (tuple(port.get_shape()) for port in ports)
        types = {port.get_element_type().to_string() for port in ports}
        cells = [extent for extent in output_shape if extent != 1]
        if (
            types == {"u8"}
            and len(input_shape) == 4
            and input_shape[0] == 1
            and input_shape[3] == 3
            and len(output_shape) == 4
        ):
            # (1, h, w, 1) or (1, 1, h, w).
            height, width = (
                (output_shape[1], output_shape[2])
                if output_shape[3] == 1
                else (output_shape[2], output_shape[3])
            )
            if int(np.prod(output_shape)) == height * width and cells:
                return (input_shape[1], input_shape[2]), (height, width)
    raise BundleError(
        "the OpenVINO model breaks the contract",
        expected="one input u8 [1,H,W,3], one output u8 [1,h,w,1] or [1,1,h,w]",
        got="; ".join(
            f"{port.get_element_type().to_string()} {port.get_partial_shape()}" for port in ports
        ),
    )
