"""A part of a device's software that is not a Python package: what advisories and bills call it."""

from __future__ import annotations

import msgspec

UNKNOWN = "unknown"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A component with a name of its own.

    Attributes:
        ref: Unique name inside a bill.
        name: Name as its makers write it.
        version: Its version, or `unknown`.
        purl: Package URL.
        kind: Kind of component of CycloneDX, such as `library`.
        supplier: Who makes it, or `unknown`.
        license: License as an SPDX expression, or `unknown`.
        cpe: Name in the Common Platform Enumeration (CPE 2.3); empty if it has none.
        sha256: Hash of the file or of the sources; empty if it is not one thing.
        files: Where it was found.
        owners: `ref` of the parts that contain or need it.
        ecosystem: Ecosystem of the OSV format with its release, such as `Debian:12`; empty for
            software that advisories know by its repository.
        known_as: Name in that ecosystem, such as the source package.
        known_version: Version in that ecosystem.
        repository: Address of its sources without scheme, such as `github.com/openssl/openssl`.
    """

    ref: str
    name: str
    version: str
    purl: str
    kind: str = "library"
    supplier: str = UNKNOWN
    license: str = UNKNOWN
    cpe: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    ecosystem: str = ""
    known_as: str = ""
    known_version: str = ""
    repository: str = ""


def generic(
    name: str,
    version: str,
    *,
    ref: str = "",
    vendor: str = "",
    supplier: str = UNKNOWN,
    license: str = UNKNOWN,
    repository: str = "",
    kind: str = "library",
    sha256: str = "",
    files: tuple[str, ...] = (),
    owners: tuple[str, ...] = (),
) -> Part:
    """Return a part that no package manager installed.

    Args:
        name: Name of the product, in lower case in its package URL and CPE.
        version: Its version, or `unknown`.
        ref: Unique name inside a bill; the package URL by default.
        vendor: Vendor in the CPE dictionary; without one the part has no CPE.
        supplier: Who makes it.
        license: License as an SPDX expression.
        repository: Address of its sources without scheme.
        kind: Kind of component.
        sha256: Hash of the file or of the sources.
        files: Where it was found.
        owners: `ref` of the parts that contain it.
    """
    has_version = version != UNKNOWN
    purl = f"pkg:generic/{name.lower()}" + (f"@{version}" if has_version else "")
    cpe = f"cpe:2.3:a:{vendor}:{name.lower()}:{version if has_version else '*'}:*:*:*:*:*:*:*"
    return Part(
        ref=ref or purl,
        name=name,
        version=version,
        purl=purl,
        kind=kind,
        supplier=supplier,
        license=license,
        cpe=cpe if vendor else "",
        sha256=sha256,
        files=files,
        owners=owners,
        repository=repository,
    )
