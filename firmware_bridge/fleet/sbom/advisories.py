"""Compares components with advisories in the OSV format, from a file and without a network.

What cannot be decided is reported as such: a component is passed over only if an advisory rules it
out, or if a statement (`vex`) clears it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from edge.errors import DataError
from firmware_bridge.fleet.sbom.parts import UNKNOWN
from firmware_bridge.fleet.sbom.versions import key_of, plain_version
from firmware_bridge.fleet.sbom.vex import CLEARED, statement_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from firmware_bridge.fleet.sbom.parts import Part
    from firmware_bridge.fleet.sbom.vex import Statement

Outcome = Literal["affected", "undecided", "cleared"]

_ECOSYSTEM, _PURL, _REPOSITORY = "ecosystem", "purl", "repository"
"""Kinds of names under which advisories know a component."""


class _PackageName(msgspec.Struct, frozen=True):
    ecosystem: str = ""
    name: str = ""
    purl: str = ""


class _Range(msgspec.Struct, frozen=True):
    type: str
    events: list[dict[str, str]]
    repo: str = ""


class _Affected(msgspec.Struct, frozen=True):
    package: _PackageName = _PackageName()
    ranges: list[_Range] = []
    versions: list[str] = []


class Advisory(msgspec.Struct, frozen=True):
    """A record of the OSV format; fields that are not used here are not kept."""

    id: str
    summary: str = ""
    aliases: list[str] = []
    withdrawn: str = ""
    affected: list[_Affected] = []


class _List(msgspec.Struct, frozen=True):
    vulns: list[Advisory]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """An advisory that concerns a component.

    Attributes:
        advisory: Identifier of the advisory.
        aliases: Other identifiers of the same vulnerability.
        summary: Its summary.
        component: Name of the component.
        version: Version of the component.
        outcome: `affected`; `undecided` if versions cannot be compared; `cleared` if a statement
            says that the component is not affected or fixed.
        reason: Why.
    """

    advisory: str
    aliases: list[str]
    summary: str
    component: str
    version: str
    outcome: Outcome
    reason: str


def read_advisories(path: Path) -> list[Advisory]:
    """Read a record, a list of records, or an object with a list `vulns`.

    Raises:
        DataError: The file cannot be read or has another form.
    """
    kinds: tuple[type, ...] = (list[Advisory], _List, Advisory)
    error: Exception | None = None
    try:
        data = path.read_bytes()
    except OSError as failed:
        raise DataError(f"{path} cannot be read", got=failed.strerror or str(failed)) from failed
    for kind in kinds:
        try:
            entries: Any = msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as failed:
            error = error or failed
            continue
        if isinstance(entries, _List):
            return entries.vulns
        return [entries] if isinstance(entries, Advisory) else list(entries)
    raise DataError(
        f"{path} holds no advisories",
        expected="JSON in the OSV format: a record, a list of records, or an object with `vulns`",
        got=str(error),
    )


def judge(
    advisories: Iterable[Advisory], parts: Sequence[Part], statements: Sequence[Statement] = ()
) -> list[Finding]:
    """Return what advisories say of components, affected ones first.

    Args:
        advisories: Records; withdrawn ones are passed over.
        parts: Components.
        statements: VEX statements, the oldest first.
    """
    by_name: dict[tuple[str, ...], list[int]] = {}
    for number, part in enumerate(parts):
        for name in _names_of_part(part):
            by_name.setdefault(name, []).append(number)
    findings = []
    for advisory in advisories:
        if advisory.withdrawn:
            continue
        names = {name for entry in advisory.affected for name in _names_of_entry(entry)}
        for number in sorted({number for name in names for number in by_name.get(name, ())}):
            part = parts[number]
            entries = [entry for entry in advisory.affected if _concerns(entry, part)]
            outcomes = [_decide(entry, part) for entry in entries]
            decided = next((each for each in outcomes if each[0] == "affected"), None)
            decided = decided or next((each for each in outcomes if each[0] == "undecided"), None)
            if decided is not None:
                findings.append(_finding(advisory, part, decided, statements))
    order = ("affected", "undecided", "cleared")
    return sorted(findings, key=lambda each: (order.index(each.outcome), each.component))


def _finding(
    advisory: Advisory,
    part: Part,
    decided: tuple[Outcome | None, str],
    statements: Sequence[Statement],
) -> Finding:
    outcome, reason = decided
    assert outcome is not None
    stated = statement_for(statements, [advisory.id, *advisory.aliases], part.purl)
    if stated is not None and stated.status in CLEARED:
        why = stated.detail or stated.justification
        outcome, reason = "cleared", f"{stated.status}: {why}" if why else stated.status
    return Finding(
        advisory=advisory.id,
        aliases=advisory.aliases,
        summary=advisory.summary,
        component=part.name,
        version=part.version,
        outcome=outcome,
        reason=reason,
    )


def _concerns(entry: _Affected, part: Part) -> bool:
    """Return whether an entry is about a component, whatever its version."""
    base, _, release = entry.package.ecosystem.partition(":")
    own, _, own_release = part.ecosystem.partition(":")
    # Words may follow the number of a release, as in Ubuntu:22.04:LTS. A package URL of a source
    # package has no release, so it does not count beside an ecosystem.
    if own and base and (base != own or release.partition(":")[0] not in ("", own_release)):
        return False
    names = _names_of_entry(entry)
    if own and base:
        names = {name for name in names if name[0] == _ECOSYSTEM}
    return bool(names & _names_of_part(part))


def _names_of_part(part: Part) -> set[tuple[str, ...]]:
    """Return the names under which advisories may know a component."""
    names: set[tuple[str, ...]] = set()
    if part.ecosystem:
        base = part.ecosystem.partition(":")[0]
        names.add((_ECOSYSTEM, base, canonicalize_name(part.known_as or part.name)))
    if part.purl:
        names |= _purl_names(part.purl, part.known_as)
    if part.repository:
        names.add((_REPOSITORY, part.repository))
    return names


def _names_of_entry(entry: _Affected) -> set[tuple[str, ...]]:
    """Return the names of the component that an entry is about."""
    package = entry.package
    names: set[tuple[str, ...]] = {
        (_REPOSITORY, _address(each.repo)) for each in entry.ranges if each.repo
    }
    if package.ecosystem:
        base = package.ecosystem.partition(":")[0]
        names.add((_ECOSYSTEM, base, canonicalize_name(package.name)))
    if package.purl:
        names |= _purl_names(package.purl)
    return names


def _purl_names(text: str, known_as: str = "") -> set[tuple[str, ...]]:
    try:
        purl = PackageURL.from_string(text)
    except ValueError:
        return set()
    # Advisories name the source package.
    name = canonicalize_name(known_as or purl.name)
    return {(_PURL, purl.type, purl.namespace or "", name)}


def _address(repository: str) -> str:
    return re.sub(r"^\w+://(?:www\.)?|\.git/?$|/$", "", repository.lower())


def _decide(entry: _Affected, part: Part) -> tuple[Outcome | None, str]:
    """Return whether an entry's versions include a component's, and why; None if they do not."""
    version = part.known_version or part.version
    if version == UNKNOWN:
        return "undecided", "the component's version is unknown"
    ecosystem = part.ecosystem or entry.package.ecosystem
    listed = {version, plain_version(version)}
    if any(each in listed or plain_version(each) in listed for each in entry.versions):
        return "affected", f"version {version} is listed"
    ranges = [each for each in entry.ranges if each.type != "GIT"]
    try:
        inside = [each for each in ranges if _inside(each, version, ecosystem)]
    except ValueError as error:
        return "undecided", str(error)
    if inside:
        return "affected", f"version {version} is in a range of the advisory"
    if not ranges and not entry.versions:
        return "undecided", "the advisory names commits and no versions"
    return None, ""


def _inside(affected_range: _Range, version: str, ecosystem: str) -> bool:
    """Return whether a version is in a range, by the algorithm of the OSV format."""
    key = key_of(ecosystem)
    own = key(version)
    events = [
        (kind, each[kind])
        for each in affected_range.events
        for kind in ("introduced", "fixed", "last_affected", "limit")
        if each.get(kind, "*") != "*"
    ]
    first = [event for event in events if event[1] == "0"]
    later = sorted((event for event in events if event[1] != "0"), key=lambda each: key(each[1]))
    affected = False
    for kind, at in [*first, *later]:
        if kind == "introduced":
            affected = affected or at == "0" or bool(own >= key(at))
        elif kind == "last_affected":
            affected = affected and not own > key(at)
        else:
            affected = affected and not own >= key(at)
    return affected
