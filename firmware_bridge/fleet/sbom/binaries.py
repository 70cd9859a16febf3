"""Compiled libraries inside installed wheels: their files, hashes and the products in them.

Wheels bring copies of libraries (`*.libs` folders) and link others into their extension modules;
neither the package's metadata nor the operating system tells of them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.fleet.sbom.packages import find_distribution
from firmware_bridge.fleet.sbom.parts import UNKNOWN, Part, generic
from firmware_bridge.fleet.sbom.products import PRODUCTS, Product, read_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firmware_bridge.fleet.sbom.packages import Package

_COMPILED = re.compile(r"\.so(?:\.[\w.]+)?$|\.dylib$|\.dll$|\.pyd$")
_LIBRARY = re.compile(r"(?P<name>lib.+?)(?:[-.][0-9a-f]{8})?\.so(?:\.(?P<version>[\w.]+))?$")
"""A library's name, the hash that repair tools add, and the version of its interface."""


def scan(packages: Iterable[Package], path: Sequence[str] | None = None) -> list[Part]:
    """Find the compiled files of installed packages and the products in them.

    Args:
        packages: Packages from `packages.needed`.
        path: Folders in which they are installed; `sys.path` by default.

    Returns:
        A part for each file (kind `file`), and one for each product and version, sorted by `ref`.
        A product names the files and packages that contain it.
    """
    search = list(sys.path if path is None else path)
    files: list[Part] = []
    parts_of: dict[tuple[Product, str], list[Part]] = {}
    for package in packages:
        distribution = find_distribution(package.name, search)
        for entry in distribution.files or ():
            place = entry.as_posix()
            if not _COMPILED.search(place):
                continue
            try:
                data = Path(str(distribution.locate_file(entry))).read_bytes()
            except FileNotFoundError:
                continue  # listed, and removed after the installation
            part = _file(place, package.ref, data)
            files.append(part)
            for product, version in _products(part, data):
                parts_of.setdefault((product, version), []).append(part)
    products = [
        generic(
            product.name,
            version,
            vendor=product.vendor,
            supplier=product.supplier,
            repository=product.repository,
            files=tuple(sorted({place for part in parts for place in part.files})),
            owners=tuple(sorted({owner for part in parts for owner in part.owners})),
        )
        for (product, version), parts in parts_of.items()
    ]
    return sorted([*files, *products], key=lambda part: part.ref)


def _file(place: str, owner: str, data: bytes) -> Part:
    library = _LIBRARY.fullmatch(place.rpartition("/")[2])
    version = (library["version"] if library else None) or UNKNOWN
    return Part(
        ref=f"wheel:{place}",
        name=place,
        version=version,
        purl="",
        kind="file",
        sha256=hashlib.sha256(data).hexdigest(),
        files=(place,),
        owners=(owner,),
    )


def _products(part: Part, data: bytes) -> list[tuple[Product, str]]:
    library = _LIBRARY.fullmatch(part.name.rpartition("/")[2])
    products = []
    for product in PRODUCTS:
        version = read_version(product, data)
        if not version and library and library["name"] in product.libraries:
            version = part.version
        if version:
            products.append((product, version))
    return products
