"""The packages that run engines, and which of them are installed; imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edge.util.host import at_least


class Package(NamedTuple):
    """A package that runs an engine.

    Attributes:
        module: Its import name.
        distribution: Name of its distribution.
        least: Its own minimum version, if the bundle states the version of a different package.
        numpy_1: Whether it runs only with numpy 1.
    """

    module: str
    distribution: str
    least: str = ""
    numpy_1: bool = False


PACKAGES = {
    "openvino": (Package("openvino", "openvino"),),
    "tflite": (
        Package("ai_edge_litert", "ai-edge-litert"),
        Package("tflite_runtime", "tflite-runtime", least="2.14", numpy_1=True),
    ),
    "onnx": (Package("onnxruntime", "onnxruntime"),),
}
"""Engine name -> packages that can run it; the first installed one is used.

A bundle's `min_version` is a version of the first package.
"""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """An installed package that runs an engine on this machine.

    Attributes:
        package: Name of the distribution.
        version: Its version, `unknown` if it reports none.
        least: Its own minimum version; empty if the bundle's `min_version` applies.
        conflict: Why it cannot run in this environment; empty if it can.
    """

    package: str
    version: str
    least: str = ""
    conflict: str = ""

    def needed(self, min_version: str) -> str:
        """Return the minimum version of this package for a bundle's `min_version`."""
        return self.least or min_version

    def reaches(self, min_version: str) -> bool:
        """Whether it is new enough for a bundle's `min_version`; True if its version is unknown."""
        return self.version == "unknown" or at_least(self.version, self.needed(min_version))


def find_runtime(name: str) -> Runtime | None:
    """Find the package that would run an engine here, None if no such package is installed.

    Args:
        name: One of `PACKAGES`.
    """
    for package in PACKAGES[name]:
        if importlib.util.find_spec(package.module) is None:
            continue
        try:
            version = importlib.metadata.version(package.distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        conflict = ""
        # With numpy 2 the import succeeds, but every interpreter fails.
        if package.numpy_1 and at_least(np.__version__, "2"):
            conflict = (
                f"{package.distribution} {version} needs numpy < 2, "
                f"numpy {np.__version__} is installed"
            )
        return Runtime(
            package=package.distribution, version=version, least=package.least, conflict=conflict
        )
    return None


def has_device_providers() -> bool:
    """Return whether the installed onnxruntime has providers other than the CPU's.

    Each is a library of its own beside the one that all of them share.
    """
    spec = importlib.util.find_spec("onnxruntime")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return any(
        not path.name.endswith("_shared.so")
        for folder in folders
        for path in Path(folder).glob("capi/libonnxruntime_providers_*.so")
    )


def find_runtimes() -> dict[str, Runtime | None]:
    """Return engine name -> `find_runtime` for every engine."""
    return {name: find_runtime(name) for name in PACKAGES}
