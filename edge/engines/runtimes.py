"""The packages that run engines, and which of them is installed here. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import NamedTuple

import msgspec
import numpy as np

from edge.util.host import at_least


class Package(NamedTuple):
    """A package that runs an engine.

    Attributes:
        module: Its import name.
        distribution: Its name where packages are installed from.
        least: Its own least version, where what a bundle asks for is a version of another package.
        numpy_1: It runs with numpy 1 alone.
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
"""Engine name -> what runs it; a bundle's `min_version` is a version of the first, and the first installed is used."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What runs an engine on this machine.

    Attributes:
        package: Name of the distribution.
        version: Its version, `unknown` where it does not tell.
        least: Its own least version, empty where the bundle's counts.
        conflict: Why it cannot run in this environment, empty where it can.
    """

    package: str
    version: str
    least: str = ""
    conflict: str = ""

    def needed(self, min_version: str) -> str:
        """The least version of this package for a bundle's `min_version`."""
        return self.least or min_version

    def reaches(self, min_version: str) -> bool:
        """Whether it is new enough for a bundle's `min_version`; without a version, loading the model decides."""
        return self.version == "unknown" or at_least(self.version, self.needed(min_version))


def find_runtime(name: str) -> Runtime | None:
    """What would run an engine here, None where no package of it is installed.

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
        # With numpy 2 its import passes and every interpreter fails.
        if package.numpy_1 and at_least(np.__version__, "2"):
            conflict = f"{package.distribution} {version} needs numpy < 2, numpy {np.__version__} is installed"
        return Runtime(
            package=package.distribution, version=version, least=package.least, conflict=conflict
        )
    return None


def find_runtimes() -> dict[str, Runtime | None]:
    """`find_runtime` of every engine."""
    return {name: find_runtime(name) for name in PACKAGES}
