"""What is below the Python packages: operating system, interpreter, controller's firmware."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import firmware_bridge
from edge import __version__
from edge.errors import MissingDependencyError
from firmware_bridge.fleet.sbom.parts import UNKNOWN, Part, generic

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRMWARE = Path(firmware_bridge.__file__).parent / "cart/firmware"
"""Sources of the controller's firmware, shipped with this package."""

_FORMAT = (
    "${binary:Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${source:Version}\\t"
    "${Maintainer}\\t${db:Status-Status}\\n"
)
_ECOSYSTEMS = {"debian": "Debian", "ubuntu": "Ubuntu"}


def system_parts() -> list[Part]:
    """Return the operating system, its packages where dpkg installed them, and the interpreter.

    Raises:
        MissingDependencyError: dpkg is there and does not answer.
    """
    release = _os_release()
    system = release.get("ID", UNKNOWN)
    parts = [
        generic(
            system,
            release.get("VERSION_ID", UNKNOWN),
            ref="operating-system",
            kind="operating-system",
            supplier=release.get("PRETTY_NAME", UNKNOWN),
        ),
        # Its release is no version that advisories know; they name the package of the kernel.
        generic("linux", platform.release(), kind="operating-system"),
        generic(
            "python",
            platform.python_version(),
            vendor="python",
            supplier="Python Software Foundation",
            license="PSF-2.0",
            kind="application",
            repository="github.com/python/cpython",
        ),
    ]
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", f"-f={_FORMAT}"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return parts
    if done.returncode != 0:
        raise MissingDependencyError(
            "dpkg-query does not list the packages of this system", got=done.stderr.strip()
        )
    return [*parts, *read_dpkg(done.stdout, release)]


def read_dpkg(text: str, release: Mapping[str, str]) -> list[Part]:
    """Read what `dpkg-query` printed, one installed package a line.

    Args:
        text: Lines of name, version, architecture, source package, source version, maintainer and
            status, separated by tabs.
        release: Fields of os-release: `ID` and `VERSION_ID`.
    """
    system, number = release.get("ID", "debian"), release.get("VERSION_ID", "")
    ecosystem = _ECOSYSTEMS.get(system, system)
    parts = []
    for line in text.splitlines():
        package, version, machine, source, source_version, maker, status = line.split("\t")
        if status != "installed":
            continue
        name = package.partition(":")[0]
        purl = (
            f"pkg:deb/{system}/{name}@{version.replace(':', '%3A')}"
            f"?arch={machine}&distro={system}-{number}"
        )
        parts.append(
            Part(
                ref=purl,
                name=name,
                version=version,
                purl=purl,
                supplier=maker or UNKNOWN,
                ecosystem=f"{ecosystem}:{number}",
                known_as=source,
                known_version=source_version,
            )
        )
    return parts


def firmware_parts(folder: Path = FIRMWARE) -> list[Part]:
    """Return the controller's firmware and the CBOR library inside it, with hashes of the sources.

    Args:
        folder: Sources of the firmware.
    """
    codec = folder / "codec"
    version = re.search(r"zcbor version ([\d.]+)", (codec / "cart_types.h").read_text())
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".c", ".h", ".ld"))
    firmware = generic(
        "edge-difom-controller",
        __version__,
        kind="firmware",
        supplier="edge-difom contributors",
        license="Apache-2.0",
        sha256=_digest(folder, sources),
        files=tuple(path.relative_to(folder).as_posix() for path in sources),
    )
    library = sorted(codec.glob("zcbor_*"))
    return [
        firmware,
        generic(
            "zcbor",
            version[1] if version else UNKNOWN,
            supplier="Nordic Semiconductor ASA",
            license="Apache-2.0",
            repository="github.com/nordicsemiconductor/zcbor",
            sha256=_digest(folder, library),
            files=tuple(path.relative_to(folder).as_posix() for path in library),
            owners=(firmware.ref,),
        ),
    ]


def _digest(folder: Path, files: list[Path]) -> str:
    """Return a SHA-256 over names and contents, in the form in which `sha256sum` prints them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
