"""What this machine can do, and what it lacks. Works with no extra installed."""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

import msgspec

from edge.bundle.reader import Bundle
from edge.bundle.shipped import default_bundle
from edge.engines.runtimes import Runtime, find_runtimes
from edge.errors import BundleError
from edge.inference.probe import Probe, probe_engines

# msgspec reads the annotations when a report is decoded.
from edge.sources.camera_discovery import Camera, find_cameras, with_formats
from edge.util.extras import EXTRA_OF
from edge.util.host import Device, read_device, versions

if TYPE_CHECKING:
    from pathlib import Path


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """One extra of the project.

    Attributes:
        installed: Every package of it can be found.
        missing: Import names of those that cannot.
        install: The command that brings it.
    """

    installed: bool
    missing: list[str]
    install: str


class GStreamer(msgspec.Struct, frozen=True, kw_only=True):
    """What of GStreamer is there: its command line and its Python bindings."""

    command: str | None
    python: bool


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole examination.

    Attributes:
        device: The machine.
        engines: Engine -> what runs it, None where nothing is installed.
        extras: Extra -> what is there of it.
        cameras: Video devices.
        gstreamer: GStreamer.
        default_bundle: Folder of the bundle that comes with the package, None where none does.
        versions: Software.
        precisions: What each engine of a bundle really computes in, and where; empty without a bundle.
        problems: What stands in the way of `edge-difom run`, with the command that mends it.
    """

    device: Device
    engines: dict[str, Runtime | None]
    extras: dict[str, Extra]
    cameras: list[Camera]
    gstreamer: GStreamer
    default_bundle: str | None
    versions: dict[str, str | None]
    precisions: list[Probe] = []
    problems: list[str]


def examine(bundle: Path | None = None) -> DoctorReport:
    """Look at this machine and its Python environment. Imports no engine.

    Args:
        bundle: Whose engines are opened, each in a process of its own; by default the one that is shipped.
    """
    engines = find_runtimes()
    problems = [runtime.conflict for runtime in engines.values() if runtime and runtime.conflict]
    if not any(engines.values()):
        problems.append(
            "no engine is installed: pip install 'edge-difom[openvino]' (or [tflite], on old systems [tflite-runtime], or [onnx])"
        )
    shipped = default_bundle()
    precisions: list[Probe] = []
    if (asked := bundle or shipped) is not None:
        try:
            precisions = probe_engines(Bundle.open(asked))
        except BundleError as error:
            problems.append(error.what)
    return DoctorReport(
        device=read_device(),
        engines=engines,
        extras=_extras(),
        cameras=[with_formats(camera) for camera in find_cameras()],
        gstreamer=GStreamer(command=shutil.which("gst-launch-1.0"), python=_found("gi")),
        default_bundle=str(shipped) if shipped else None,
        versions=versions(),
        precisions=precisions,
        problems=problems,
    )


def _extras() -> dict[str, Extra]:
    found = {}
    for extra in dict.fromkeys(EXTRA_OF.values()):
        missing = [root for root, owner in EXTRA_OF.items() if owner == extra and not _found(root)]
        found[extra] = Extra(
            installed=not missing, missing=missing, install=f"pip install 'edge-difom[{extra}]'"
        )
    return found


def _found(root: str) -> bool:
    return importlib.util.find_spec(root) is not None
