"""Installed Python packages that a bundle needs on a device, with versions and licenses."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING

import msgspec
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edge.errors import MissingDependencyError, UsageError
from firmware_bridge.fleet.sbom.parts import UNKNOWN, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""SPDX license of a classifier, for packages without an expression; ambiguous ones are left out."""

_LONGEST = 60
"""Longest license field in characters; a longer one holds the text of the license."""


class _Archive(msgspec.Struct, frozen=True):
    hashes: dict[str, str] = {}


class _Origin(msgspec.Struct, frozen=True):
    archive_info: _Archive = _Archive()


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """An installed distribution.

    Attributes:
        name: Normalized name.
        version: Version of the distribution.
        license: License as an SPDX expression if there is one, else as the metadata state it.
        supplier: Publisher, as the metadata state it.
        summary: Summary of the distribution.
        requires: Names of the distributions that it needs here.
        archive: SHA-256 of the wheel it was installed from; empty if the installer did not keep it.
        record: SHA-256 of its installed `RECORD`, which lists the hash of each of its files; empty
            if it has none.
    """

    name: str
    version: str
    license: str
    supplier: str
    summary: str
    requires: list[str]
    archive: str = ""
    record: str = ""

    @property
    def ref(self) -> str:
        """Package URL, by which a bill refers to it."""
        return str(PackageURL("pypi", None, self.name, self.version))

    @property
    def part(self) -> Part:
        """The package as advisories know it."""
        return Part(
            ref=self.ref, name=self.name, version=self.version, purl=self.ref, ecosystem="PyPI"
        )


def needed(
    extras: Iterable[str], *, project: str = "edge-difom", path: Sequence[str] | None = None
) -> list[Package]:
    """Find the project with some extras and everything it needs on this machine, sorted by name.

    Args:
        extras: Extras of the project.
        project: Distribution to start from.
        path: Folders to search for distributions; `sys.path` by default.

    Raises:
        UsageError: The project has no such extra.
        MissingDependencyError: A required distribution is not installed.
    """
    search = list(sys.path if path is None else path)
    packages: dict[str, Package] = {}
    extras_of: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(project), frozenset(extras))]
    while waiting:
        name, wanted_extras = waiting.pop()
        extras_known = extras_of.setdefault(name, set())
        if name in packages and wanted_extras <= extras_known:
            continue
        extras_known |= wanted_extras
        distribution = find_distribution(name, search)
        offered = {
            canonicalize_name(extra)
            for extra in distribution.metadata.get_all("Provides-Extra") or []
        }
        if name == canonicalize_name(project) and (
            unknown := {*map(canonicalize_name, wanted_extras)} - offered
        ):
            raise UsageError(
                f"{project} has no extra {min(unknown)!r}", expected=", ".join(sorted(offered))
            )
        requirements = [
            text
            for text in map(Requirement, distribution.requires or ())
            if _applies(text, extras_known)
        ]
        waiting += [(canonicalize_name(each.name), frozenset(each.extras)) for each in requirements]
        packages[name] = _package(name, distribution, requirements)
    return [packages[name] for name in sorted(packages)]


def find_distribution(name: str, path: list[str]) -> importlib.metadata.Distribution:
    """Return an installed distribution.

    Args:
        name: Its name.
        path: Folders to search.

    Raises:
        MissingDependencyError: It is not installed.
    """
    for distribution in importlib.metadata.distributions(name=name, path=path):
        return distribution
    raise MissingDependencyError(
        f"the package {name} is not installed here, so its version and license are unknown",
        expected="what the device has",
        hint=f"pip install {name}, or run this on the device",
    )


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def _package(
    name: str, distribution: importlib.metadata.Distribution, requirements: Sequence[Requirement]
) -> Package:
    record = distribution.read_text("RECORD")
    people = ("Author", "Author-email", "Maintainer", "Maintainer-email")
    about = distribution.metadata

    def metadata_field(*fields: str) -> str:
        return next(
            (value for field in fields for value in about.get_all(field) or () if value), ""
        )

    return Package(
        name=name,
        version=distribution.version,
        license=_license(
            metadata_field("License-Expression"),
            metadata_field("License"),
            about.get_all("Classifier") or [],
        ),
        supplier=metadata_field(*people) or UNKNOWN,
        summary=metadata_field("Summary"),
        requires=sorted({canonicalize_name(each.name) for each in requirements} - {name}),
        archive=_archive(distribution),
        record=hashlib.sha256(record.encode()).hexdigest() if record else "",
    )


def _archive(distribution: importlib.metadata.Distribution) -> str:
    """Return the SHA-256 of a wheel as its installer recorded it (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    try:
        origin = msgspec.json.decode(text or "{}", type=_Origin)
    except msgspec.DecodeError:
        return ""
    return origin.archive_info.hashes.get("sha256", "")


def _license(expression: str, text: str, classifiers: Sequence[str]) -> str:
    if expression:
        return expression
    licenses = [
        line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")
    ]
    for name in licenses:
        if name in _CLASSIFIERS:
            return _CLASSIFIERS[name]
    short = text.strip()
    if len(short) > _LONGEST or "\n" in short:
        short = ""
    return short or next(iter(licenses), UNKNOWN)
