"""Examine what this machine can do and what it lacks; works without any extra installed."""

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
        python: Whether its Python bindings can be found.
    """

    command: str | None
    python: bool


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
