"""Choose and open engines, each behind the contract `edge.contracts.Engine`.

A backend takes bytes, never paths, so that the verified bytes are the loaded bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from edge.contracts import Engine
from edge.engines.runtimes import find_runtime, find_runtimes, has_device_providers
from edge.errors import BundleError, MissingDependencyError, UsageError
from edge.util import plugins
from edge.util.extras import missing, resolve
from edge.util.host import architecture, usable_cpus
from edge.util.plugins import find_plugin, plugin_names
from edge.util.spec import parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.bundle.manifest import EngineEntry
    from edge.bundle.reader import Bundle

BACKENDS = {
    "openvino": "edge.engines.openvino:OpenVinoEngine",
    "tflite": "edge.engines.tflite:LiteRtEngine",
    "onnx": "edge.engines.onnxruntime:OnnxEngine",
}
"""Engine name -> class, imported on first use; `auto` tries them in this order.

Other distributions add engines by entry points (`edge.util.plugins`); `auto` never chooses these.
"""

DEVICES = {"openvino": ("CPU", "GPU", "NPU", "AUTO")}
"""Engine name -> devices that may follow it, as in `openvino:GPU`.

Several devices of one kind are numbered, as in `openvino:GPU.1`.
"""


def split_name(name: str) -> tuple[str, str]:
    """Split an engine's name, `RUNTIME[:DEVICE[.NUMBER]]`, into runtime and device.

    Returns:
        `("openvino", "GPU")` for `openvino:GPU`; the device is empty if the name has none.

    Raises:
        UsageError: The runtime is unknown or has no such device.
    """
    spec = parse(name)
    runtime, device = spec.scheme, spec.target
    kind = device.partition(".")[0]
    known_device = spec.bare or kind in DEVICES.get(runtime, ())
    if runtime in BACKENDS:
        valid = known_device
    else:
        # A plug-in checks its devices itself.
        valid = (spec.bare or bool(device)) and runtime in plugin_names(plugins.ENGINES)
    if not valid or spec.options:
        devices = [f"{runtime}:{device}" for runtime, names in DEVICES.items() for device in names]
        raise UsageError(
            f"unknown engine {name!r}",
            expected=" | ".join(["auto", *BACKENDS, *devices, *plugin_names(plugins.ENGINES)]),
        )
    return runtime, device


def needs_drivers(name: str) -> bool:
    """Return whether an engine may use devices whose drivers need files and calls of their own.

    Args:
        name: As in `open_engine_files`.
    """
    runtime, device = split_name(name)
    if runtime == "onnx":
        return has_device_providers()
    return runtime not in BACKENDS or device not in ("", "CPU")


def available() -> dict[str, str | None]:
    """Return the installed version of each runtime, None if it is missing, without importing it."""
    return {name: None if info is None else info.version for name, info in find_runtimes().items()}


def open_engine_files(
    name: str,
    files: Sequence[bytes],
    threads: int | None = None,
    precision: str | None = None,
    cache: Path | None = None,
) -> Engine:
    """Open an engine from the contents of its files.

    Args:
        name: One of `BACKENDS`, optionally with one of its `DEVICES`.
        files: The model file first, as `EngineEntry.files`.
        threads: CPU threads; None for every core that this process may use.
        precision: As `EngineEntry.precision`. Only `bf16` matters: OpenVINO then runs the files of
            an f32 engine in bfloat16. The files determine every other precision.
        cache: Folder of models that OpenVINO has compiled; None always compiles. Other runtimes
            ignore it.

    Raises:
        UsageError: Unknown engine or device, less than one thread, or bf16 in a runtime other than
            OpenVINO.
        MissingDependencyError: The runtime is missing (the error names the extra), or incompatible
            with the installed numpy.
        BundleError: The runtime cannot load the files or cannot run them in bf16, or the model
            breaks the contract.
    """
    runtime, device = split_name(name)
    if threads is None:
        threads = len(usable_cpus())
    if threads < 1:
        raise UsageError(
            "the number of threads is not usable", expected="at least 1", got=str(threads)
        )
    if precision == "bf16" and runtime != "openvino":
        raise UsageError(
            f"{runtime} does not support bf16",
            expected="openvino",
            hint="choose the engine openvino",
            code="bf16-unsupported",
        )
    how: dict[str, Any] = {"bf16": True} if precision == "bf16" else {}
    if device:
        how["device"] = device
    if cache is not None and runtime == "openvino":
        how["cache"] = cache
    if runtime not in BACKENDS:
        plugin = find_plugin(plugins.ENGINES, runtime)
        assert plugin is not None, "split_name has found it"
        return cast("Engine", plugin.build(Engine, files, threads=threads, **how))
    engine = resolve(BACKENDS[runtime])
    try:
        return cast("Engine", engine(files, threads=threads, **how))
    except ModuleNotFoundError as error:
        # A backend imports its runtime when its first engine opens.
        dependency_error = missing(error)
        if dependency_error is None:
            raise
        raise dependency_error from error


def open_engine(
    bundle: Bundle,
    name: str = "auto",
    *,
    threads: int | None = None,
    precision: str = "int8",
    cache: Path | None = None,
) -> Engine:
    """Open an engine of a bundle; its files are verified as they are read.

    Args:
        bundle: An open bundle.
        name: As in `open_engine_files`, or `auto`: the first runtime that the bundle supports and
            this machine can load.
        threads: CPU threads; None for every core that this process may use.
        precision: `int8`, `f32` or `bf16`.
        cache: As in `open_engine_files`.

    Raises:
        UsageError: Unknown name, the bundle has no such engine, or the machine no such device.
        MissingDependencyError: The runtime is missing (the error names the extra), or incompatible
            with the installed numpy.
        BundleError: The bundle needs a newer runtime or a different architecture, or a file does
            not verify.
    """
    name = choose_engine(bundle, name, precision)
    runtime, _ = split_name(name)
    entry = bundle.engine(runtime, precision)
    engine = open_engine_files(
        name, bundle.engine_files(runtime, precision), threads, precision, cache
    )
    declared = bundle.manifest.input
    if engine.input_size != (declared.height, declared.width):
        engine.close()
        raise BundleError(
            f"the input size of {entry.files[0]} in {bundle.path} differs from its manifest",
            expected=f"{declared.height} x {declared.width}",
            got=f"{engine.input_size[0]} x {engine.input_size[1]}",
        )
    return engine


def choose_engine(bundle: Bundle, name: str = "auto", precision: str = "int8") -> str:
    """Return the name of the engine that `open_engine` would open, without opening it.

    Args:
        bundle: An open bundle.
        name: As in `open_engine`.
        precision: As in `open_engine`.

    Raises:
        UsageError: Unknown name, or the bundle has no such engine.
        MissingDependencyError: No suitable runtime is installed (the error names the extra).
        BundleError: The bundle needs a newer runtime or a different architecture.
    """
    if name == "auto":
        name = _choose(bundle, precision)
    _check_machine(bundle, bundle.engine(split_name(name)[0], precision))
    return name


def _choose(bundle: Bundle, precision: str) -> str:
    runtimes = [entry.runtime for entry in bundle.manifest.engines if entry.precision == precision]
    installed = available()
    for name in BACKENDS:
        if name in runtimes and installed[name] is not None:
            return name
    raise MissingDependencyError(
        f"no engine of {bundle.path} can be loaded here",
        expected=f"one of {', '.join(runtimes) or 'no ' + precision + ' engine'}",
        got=", ".join(f"{name} {version}" for name, version in installed.items() if version)
        or "none installed",
        hint="pip install 'edge-difom[openvino]' or 'edge-difom[tflite]' "
        "(on old systems [tflite-runtime]) or 'edge-difom[onnx]'",
    )


def _check_machine(bundle: Bundle, entry: EngineEntry) -> None:
    machine = architecture()
    if machine not in entry.architectures:
        raise BundleError(
            f"the {entry.runtime} engine of {bundle.path} was not built for this machine",
            expected=" | ".join(entry.architectures),
            got=machine,
        )
    if entry.runtime not in BACKENDS:
        return  # a plug-in checks the version of its runtime itself
    runtime = find_runtime(entry.runtime)
    if runtime is not None and not runtime.reaches(entry.min_version):
        needed = runtime.needed(entry.min_version)
        raise BundleError(
            f"the {entry.runtime} engine of {bundle.path} needs a newer runtime",
            expected=f"{runtime.package} {needed} or newer",
            got=runtime.version,
            hint=f"pip install '{runtime.package}>={needed}'",
        )
