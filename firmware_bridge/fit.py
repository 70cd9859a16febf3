"""Whether a bundle can run on a machine, told before it is sent there or started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from edge.util import host as device_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.bundle.manifest import EngineEntry
    from edge.engines.runtimes import Runtime


class Described(Protocol):
    """What is known of a bundle: its manifest, or what signed metadata says of it."""

    @property
    def name(self) -> str:
        """Of the bundle."""
        ...

    @property
    def schema_version(self) -> int:
        """Of its manifest."""
        ...

    @property
    def engines(self) -> list[EngineEntry]:
        """Its engines."""
        ...


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one engine of the bundle.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32` or `bf16`.
        runs: Nothing stands in its way.
        obstacles: What does, each with what mends it where something can.
    """

    runtime: str
    precision: str
    runs: bool
    obstacles: list[str]


class FitReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a bundle fits a machine.

    Attributes:
        bundle: Name of the bundle.
        schema_version: Of its manifest.
        architecture: Of the machine.
        fits: At least one INT8 engine can run.
        engines: One finding for each engine of the bundle.
    """

    bundle: str
    schema_version: int
    architecture: str
    fits: bool
    engines: list[Finding]


def fit(
    manifest: Described,
    *,
    runtimes: Mapping[str, Runtime | None],
    architecture: str | None = None,
) -> FitReport:
    """Compare what a bundle needs with what a machine has.

    Args:
        manifest: Of a bundle that opened, or what is offered; its schema is one that this version
            reads.
        runtimes: Engine -> what runs it, None where nothing is installed
            (`edge.engines.runtimes.find_runtimes()`).
        architecture: The machine's, as Linux names it; this machine's by default.
    """
    architecture = architecture or device_info.architecture()
    engines = [_finding(entry, runtimes, architecture) for entry in manifest.engines]
    return FitReport(
        bundle=manifest.name,
        schema_version=manifest.schema_version,
        architecture=architecture,
        fits=any(engine.runs and engine.precision == "int8" for engine in engines),
        engines=engines,
    )


def _finding(
    entry: EngineEntry, runtimes: Mapping[str, Runtime | None], architecture: str
) -> Finding:
    obstacles = []
    if architecture not in entry.architectures:
        obstacles.append(
            f"built for {', '.join(entry.architectures)}, this machine is {architecture}"
        )
    installed = runtimes.get(entry.runtime)
    if entry.runtime not in runtimes:
        obstacles.append(
            f"this version knows no runtime {entry.runtime!r}, only {', '.join(runtimes)}"
        )
    elif installed is None:
        obstacles.append(f"the runtime is not installed: pip install 'edge-difom[{entry.runtime}]'")
    elif not installed.reaches(entry.min_version):
        obstacles.append(
            f"needs {installed.package} {installed.needed(entry.min_version)} or newer, {installed.version} is "
            f"installed: pip install --upgrade '{installed.package}>={installed.needed(entry.min_version)}'"
        )
    elif installed.conflict:
        obstacles.append(installed.conflict)
    return Finding(
        runtime=entry.runtime, precision=entry.precision, runs=not obstacles, obstacles=obstacles
    )
