"""Check whether a bundle can run on a machine before it is sent there or started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from edge.util import host as device_info
from edge.util.installation import install_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.bundle.manifest import EngineEntry
    from edge.engines.runtimes import Runtime


class Described(Protocol):
    """What is known about a bundle, from its manifest or from signed metadata."""

    @property
    def name(self) -> str:
        """Name of the bundle."""
        ...

    @property
    def schema_version(self) -> int:
        """Schema version of its manifest."""
        ...

    @property
    def engines(self) -> list[EngineEntry]:
        """Engines of the bundle."""
        ...


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the check for one engine of the bundle.

    Attributes:
        runtime: `openvino`, `tflite` or `onnx`.
        precision: `int8`, `f32`, `bf16` or `f16`.
        runs: Whether the engine can run.
        obstacles: Reasons why it cannot, each with a remedy if there is one.
    """

    runtime: str
    precision: str
    runs: bool
    obstacles: list[str]


class FitReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a bundle fits a machine.

    Attributes:
        bundle: Name of the bundle.
        schema_version: Schema version of its manifest.
        architecture: Architecture of the machine.
        fits: Whether at least one INT8 engine can run.
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
    """Compare the needs of a bundle with a machine.

    Args:
        manifest: Manifest of an open bundle, or an offer; this version must read its schema.
        runtimes: Maps each engine's runtime to the package that runs it; None if none is installed
            (`edge.engines.runtimes.find_runtimes()`).
        architecture: Architecture in Linux's spelling; by default that of this machine.
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
            f"this version does not know the runtime {entry.runtime!r}, only {', '.join(runtimes)}"
        )
    elif installed is None:
        obstacles.append(f"the runtime is not installed: {install_command(entry.runtime)}")
    elif not installed.reaches(entry.min_version):
        obstacles.append(
            f"needs {installed.package} {installed.needed(entry.min_version)} or "
            f"newer, {installed.version} is installed: pip install --upgrade "
            f"'{installed.package}>={installed.needed(entry.min_version)}'"
        )
    elif installed.conflict:
        obstacles.append(installed.conflict)
    return Finding(
        runtime=entry.runtime, precision=entry.precision, runs=not obstacles, obstacles=obstacles
    )
