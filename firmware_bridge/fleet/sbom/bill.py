"""Bill of materials of a bundle (CycloneDX 1.6) and table of its SOUP (IEC 62304, 8.1.2).

SOUP is software of unknown provenance. The library that writes the bill knows no `modelCard`, so
that one is put into its JSON.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception import MissingOptionalDependencyException
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from edge.errors import DataError
from edge.util.plain_text import markdown
from firmware_bridge.fleet.sbom.bill_vulnerabilities import vulnerabilities
from firmware_bridge.fleet.sbom.model_card import model_card
from firmware_bridge.fleet.sbom.parts import UNKNOWN
from firmware_bridge.fleet.sbom.support import support_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.sbom.packages import Package
    from firmware_bridge.fleet.sbom.parts import Part
    from firmware_bridge.fleet.sbom.support import Rule
    from firmware_bridge.fleet.sbom.vex import Statement

_PROJECT = "edge-difom"
"""This project itself, which is not software of unknown provenance."""

_NAMESPACE = uuid.UUID("6c1e9d52-6a3b-5a54-9d0b-1f8f3f1f7d10")


def make_bill(
    bundle: Bundle,
    packages: Sequence[Package],
    now: datetime,
    *,
    parts: Sequence[Part] = (),
    rules: Sequence[Rule] = (),
    statements: Sequence[Statement] = (),
) -> str:
    """Write CycloneDX JSON: model with its card, engine files, data, teachers, software.

    Args:
        bundle: An open bundle.
        packages: Packages that it runs on, from `packages.needed`.
        now: Time of the bill, UTC; the same arguments give the same bytes.
        parts: Other software of the device, from `binaries.scan` and `system`.
        rules: What is known of the support of components.
        statements: VEX statements, the oldest first.
    """
    model = _model(bundle)
    contents = [*_engines(bundle), *_data(bundle), *_teachers(bundle)]
    libraries = {package.ref: _library(package) for package in packages}
    others = {part.ref: _part(part) for part in parts}
    software = libraries | others
    for component in software.values():
        if component.type is not ComponentType.FILE:
            component.properties.update(_support(component, rules, now))
    versions = [f"{each.name}=={each.version}" for each in packages]
    seed_text = ":".join(
        [bundle.digest, *versions, *(f"{each.ref}={each.sha256}" for each in parts)]
    )
    bill = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, seed_text),
        metadata=BomMetaData(component=model, timestamp=now),
        components=[*contents, *software.values()],
        vulnerabilities=vulnerabilities(
            statements, {ref: str(each.purl) for ref, each in software.items() if each.purl}
        ),
    )
    owners = {owner for part in parts for owner in part.owners}
    alone = [others[part.ref] for part in parts if not part.owners]
    bill.register_dependency(model, [*contents, *libraries.values(), *alone])
    by_name = {package.name: libraries[package.ref] for package in packages}
    for package in packages:
        bill.register_dependency(
            libraries[package.ref], [by_name[name] for name in package.requires if name in by_name]
        )
    for ref in sorted(owners & software.keys()):
        inside = [others[part.ref] for part in parts if ref in part.owners]
        bill.register_dependency(software[ref], inside)
    content = json.loads(JsonV1Dot6(bill).output_as_string())
    content["metadata"]["component"]["modelCard"] = model_card(bundle.manifest)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def validate(text: str) -> bool:
    """Compare a bill with the schema of CycloneDX 1.6.

    Args:
        text: A bill in JSON.

    Returns:
        Whether it was compared: without the package jsonschema it is not.

    Raises:
        DataError: The bill breaks the schema.
    """
    try:
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException:
        return False
    if error is not None:
        raise DataError("the bill of materials breaks its schema", got=str(error)[:500])
    return True


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
            package.license,
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
            "packages. The bill of materials also has the libraries inside them, the interpreter, "
            "the operating system's packages and the controller's firmware.",
            "",
            *lines,
            "",
        ]
    )


def _model(bundle: Bundle) -> Component:
    provenance = bundle.manifest.provenance
    properties = {
        "intended_use": bundle.manifest.intended_use,
        "student": provenance.student,
        "recipe": provenance.recipe,
        "seed": str(provenance.seed),
        "created": provenance.created,
        **{
            f"made_with:{name}": version
            for name, version in sorted(provenance.versions.items())
            if version
        },
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=bundle.manifest.name,
        version=bundle.digest[:12],
        bom_ref=f"bundle:{bundle.digest}",
        hashes=[_sha256(bundle.digest)],
        licenses=[LicenseFactory().make_with_name(bundle.manifest.license)],
        properties=[
            Property(name=f"edge-difom:{name}", value=value) for name, value in properties.items()
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
            licenses=[LicenseFactory().make_with_name(bundle.manifest.license)],
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
    url = PackageURL.from_string(package.ref)
    properties = [Property(name="edge-difom:record:sha256", value=package.record)]
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        bom_ref=package.ref,
        purl=url,
        description=package.summary or None,
        supplier=OrganizationalEntity(name=package.supplier),
        hashes=[_sha256(package.archive)] if package.archive else (),
        licenses=[LicenseFactory().make_from_string(package.license)],
        properties=properties if package.record else (),
    )


def _part(part: Part) -> Component:
    license_known = part.license != UNKNOWN
    occurrences = [Occurrence(location=file) for file in part.files if file != part.name]
    return Component(
        type=ComponentType(part.kind),
        name=part.name,
        version=part.version,
        bom_ref=part.ref,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        cpe=part.cpe or None,
        supplier=OrganizationalEntity(name=part.supplier) if part.supplier != UNKNOWN else None,
        hashes=[_sha256(part.sha256)] if part.sha256 else (),
        licenses=[LicenseFactory().make_from_string(part.license)] if license_known else (),
        evidence=ComponentEvidence(occurrences=occurrences) if occurrences else None,
    )


def _support(component: Component, rules: Sequence[Rule], now: datetime) -> list[Property]:
    support = support_of(str(component.purl or ""), rules, now.date())
    properties = {"level": support.level, "end": support.end, "source": support.source}
    return [
        Property(name=f"edge-difom:support:{name}", value=value)
        for name, value in properties.items()
        if value
    ]


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _cell(text: str) -> str:
    return markdown(text)
