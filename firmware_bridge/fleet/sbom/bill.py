"""Bill of materials of a bundle (CycloneDX 1.6) and table of its SOUP (IEC 62304, 8.1.2).

SOUP is software of unknown provenance.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from edge.util.plain_text import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.sbom.packages import Package

_PROJECT = "edge-difom"
"""This project itself, which is not software of unknown provenance."""

_NAMESPACE = uuid.UUID("6c1e9d52-6a3b-5a54-9d0b-1f8f3f1f7d10")


def make_bill(bundle: Bundle, packages: Sequence[Package], now: datetime) -> str:
    """Write CycloneDX JSON: model, engine files, data, teachers, and the packages that run them.

    Args:
        bundle: An open bundle.
        packages: Packages that it runs on, from `packages.needed`.
        now: Time of the bill, UTC; the same bundle, packages and time give the same bytes.
    """
    model = _model(bundle)
    parts = [*_engines(bundle), *_data(bundle), *_teachers(bundle)]
    libraries = {package.name: _library(package) for package in packages}
    told = ":".join([bundle.digest, *(f"{each.name}=={each.version}" for each in packages)])
    bill = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, told),
        metadata=BomMetaData(component=model, timestamp=now),
        components=[*parts, *libraries.values()],
    )
    bill.register_dependency(model, [*parts, *libraries.values()])
    for package in packages:
        bill.register_dependency(
            libraries[package.name],
            [libraries[name] for name in package.requires if name in libraries],
        )
    return JsonV1Dot6(bill).output_as_string(indent=2) + "\n"


def soup_table(bundle: Bundle, packages: Sequence[Package]) -> str:
    """Write Markdown: each package with version, supplier, license and the packages that need it.

    Args:
        bundle: An open bundle.
        packages: Packages that it runs on, from `packages.needed`.
    """
    needed_by = {
        package.name: [other.name for other in packages if package.name in other.requires]
        for package in packages
    }
    rows = [
        [
            package.name,
            package.version,
            package.supplier,
            package.licence,
            ", ".join(needed_by[package.name]),
        ]
        for package in packages
        if package.name != _PROJECT
    ]
    head = [["package", "version", "supplier", "license", "needed by"], ["---"] * 5]
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in [*head, *rows]]
    return "\n".join(
        [
            f"# Software of unknown provenance: {markdown(bundle.manifest.name)}",
            "",
            f"What runs bundle `{bundle.digest}`, from the metadata of the installed Python "
            "packages. The interpreter, the operating system and its packages are not in it.",
            "",
            *lines,
            "",
        ]
    )


def _model(bundle: Bundle) -> Component:
    made = bundle.manifest.provenance
    told = {
        "intended_use": bundle.manifest.intended_use,
        "student": made.student,
        "recipe": made.recipe,
        "seed": str(made.seed),
        "created": made.created,
        **{
            f"made_with:{name}": version
            for name, version in sorted(made.versions.items())
            if version
        },
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=bundle.manifest.name,
        version=bundle.digest[:12],
        bom_ref=f"bundle:{bundle.digest}",
        hashes=[_sha256(bundle.digest)],
        licenses=[LicenseFactory().make_with_name(bundle.manifest.licence)],
        properties=[
            Property(name=f"edge-difom:{name}", value=value) for name, value in told.items()
        ],
    )


def _engines(bundle: Bundle) -> list[Component]:
    files = {
        file: entry for entry in reversed(bundle.manifest.engines) for file in reversed(entry.files)
    }
    return [
        Component(
            type=ComponentType.FILE,
            name=file,
            bom_ref=f"file:{file}",
            description=f"{entry.runtime} {entry.precision} engine, from "
            f"version {entry.min_version} on",
            hashes=[_sha256(bundle.manifest.files[file])],
            licenses=[LicenseFactory().make_with_name(bundle.manifest.licence)],
        )
        for file, entry in sorted(files.items())
    ]


def _data(bundle: Bundle) -> list[Component]:
    return [
        Component(
            type=ComponentType.DATA,
            name=name,
            bom_ref=f"data:{name}",
            description="data for training the student and choosing its checkpoint",
            hashes=[_sha256(digest)],
            licenses=[LicenseFactory().make_with_name("terms of the data set; research only")],
        )
        for name, digest in sorted(bundle.manifest.provenance.data.items())
    ]


def _teachers(bundle: Bundle) -> list[Component]:
    return [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=name,
            bom_ref=f"teacher:{name}",
            description="teacher of the student; not part of the bundle",
        )
        for name in sorted(set(bundle.manifest.provenance.teachers))
    ]


def _library(package: Package) -> Component:
    url = PackageURL("pypi", None, package.name, package.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        bom_ref=str(url),
        purl=url,
        description=package.summary or None,
        supplier=OrganizationalEntity(name=package.supplier),
        licenses=[LicenseFactory().make_from_string(package.licence)],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _cell(text: str) -> str:
    return markdown(text)
