"""The software that runs a bundle on this machine, as `make_bill` takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.engines.runtimes import find_runtimes
from firmware_bridge.fleet.sbom import binaries, packages, system

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.sbom.packages import Package
    from firmware_bridge.fleet.sbom.parts import Part


class DeviceSoftware(NamedTuple):
    """Installed Python packages, and what is inside and below them."""

    packages: list[Package]
    parts: list[Part]


def device_software(
    bundle: Bundle, extras: Iterable[str] = (), *, below: bool = True
) -> DeviceSoftware:
    """Find the software that runs a bundle here.

    Args:
        bundle: An open bundle; the extras of its installed engines count.
        extras: Further extras of this project that are installed on the device.
        below: Whether the operating system and the controller's firmware are included.

    Raises:
        UsageError: An extra is unknown.
        MissingDependencyError: A required package is not installed.
    """
    needed = packages.needed(engine_extras(bundle) | set(extras))
    parts = list(binaries.scan(needed))
    if below:
        parts += [*system.system_parts(), *system.firmware_parts()]
    return DeviceSoftware(needed, parts)


def engine_extras(bundle: Bundle) -> set[str]:
    """Return the extras of a bundle's engines that are installed here."""
    runtimes = find_runtimes()
    engines = {entry.runtime for entry in bundle.manifest.engines if runtimes.get(entry.runtime)}
    # On old systems another package runs the tflite engine; it has its own extra.
    return {
        "tflite-runtime"
        if (runtime := runtimes[name]) and runtime.package == "tflite-runtime"
        else name
        for name in engines
    }
