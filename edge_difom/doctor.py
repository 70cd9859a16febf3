"""Examine what this machine can do and what it lacks; works without any extra installed."""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

import msgspec

from edge.bundle.reader import Bundle
from edge.bundle.shipped import default_bundle
from edge.engines.runtimes import Runtime, find_runtimes
from edge.errors import BundleError, MissingDependencyError
from edge.inference.probe import Probe, probe_engines
from edge.sandbox.enter import support
from edge.sandbox.grants import Sandbox  # noqa: TC001 - msgspec reads annotations
from edge.sources import gst_bindings

# msgspec reads the annotations when a report is decoded.
from edge.sources.camera_discovery import Camera, find_cameras, with_formats
from edge.util.extras import EXTRA_OF
from edge.util.host import Device, read_device, versions

if TYPE_CHECKING:
    from pathlib import Path


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """An extra of this project.

    Attributes:
        installed: Whether all of its packages can be found.
        missing: Import names of the packages that cannot be found.
        install: The command that installs it.
    """

    installed: bool
    missing: list[str]
    install: str


class GStreamer(msgspec.Struct, frozen=True, kw_only=True):
    """GStreamer on this machine.

    Attributes:
        command: Path of `gst-launch-1.0`, None if it is not installed.
        python: Whether the sources of this project can use its Python bindings: those of this
            environment, or the distribution's module.
        version: Version of the library behind the bindings, None without bindings.
        problem: Why the bindings cannot be used, empty if they can.
        elements: Element that a source needs -> whether it is installed; empty without bindings.
        install: The command that installs what is missing, empty if nothing is.
    """

    command: str | None
    python: bool
    version: str | None = None
    problem: str = ""
    elements: dict[str, bool] = {}
    install: str = ""

    @property
    def missing(self) -> list[str]:
        """Elements that are not installed."""
        return [name for name, available in self.elements.items() if not available]


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The record of `edge-difom doctor`.

    Attributes:
        device: The machine.
        engines: Engine -> its runtime, None if none is installed.
        extras: Extra -> whether it is installed.
        cameras: Video devices.
        gstreamer: What GStreamer offers here.
        default_bundle: Folder of the shipped default bundle, None if there is none.
        versions: Software -> version, None if it is not installed.
        sandbox: What this kernel has to confine the processes that run engines.
        precisions: The precision and device each engine of a bundle uses; empty without a bundle.
        problems: What prevents `edge-difom run`, with the command that fixes it.
    """

    device: Device
    engines: dict[str, Runtime | None]
    extras: dict[str, Extra]
    cameras: list[Camera]
    gstreamer: GStreamer
    default_bundle: str | None
    versions: dict[str, str | None]
    sandbox: Sandbox
    precisions: list[Probe] = []
    problems: list[str]


def examine(bundle: Path | None = None) -> DoctorReport:
    """Examine this machine and its Python environment, without importing an engine here.

    Args:
        bundle: The bundle whose engines are opened, each in a separate process; None opens the
            shipped one.
    """
    engines = find_runtimes()
    problems = [runtime.conflict for runtime in engines.values() if runtime and runtime.conflict]
    if not any(engines.values()):
        problems.append(
            "no engine is installed: pip install 'edge-difom[openvino]' (or [tflite], [onnx], "
            "on old systems [tflite-runtime])"
        )
    shipped = default_bundle()
    precisions: list[Probe] = []
    if (examined := bundle or shipped) is not None:
        try:
            precisions = probe_engines(Bundle.open(examined))
        except BundleError as error:
            problems.append(error.what)
    return DoctorReport(
        device=read_device(),
        engines=engines,
        extras=_extras(),
        cameras=[with_formats(camera) for camera in find_cameras()],
        gstreamer=find_gstreamer(),
        default_bundle=str(shipped) if shipped else None,
        versions=versions(),
        sandbox=support(),
        precisions=precisions,
        problems=problems,
    )


def find_gstreamer() -> GStreamer:
    """Load GStreamer as the sources do, and look for every element that they use."""
    command = shutil.which("gst-launch-1.0")
    try:
        bindings = gst_bindings.load()
    except MissingDependencyError as error:
        return GStreamer(
            command=command, python=False, problem=error.got.partition("\n")[0], install=error.hint
        )
    elements = gst_bindings.elements_found()
    lacks = [name for name, available in elements.items() if not available]
    return GStreamer(
        command=command,
        python=True,
        version=".".join(str(part) for part in bindings.gst.version()[:3]),
        elements=elements,
        install=f"apt-get install {gst_bindings.PACKAGES}" if lacks else "",
    )


def _extras() -> dict[str, Extra]:
    extras = {}
    for extra in dict.fromkeys(EXTRA_OF.values()):
        missing = [
            root for root, owner in EXTRA_OF.items() if owner == extra and not _is_installed(root)
        ]
        extras[extra] = Extra(
            installed=not missing, missing=missing, install=f"pip install 'edge-difom[{extra}]'"
        )
    return extras


def _is_installed(root: str) -> bool:
    return importlib.util.find_spec(root) is not None
