"""Advisories and VEX statements: what is affected is found, and what is unknown is never passed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DataError
from firmware_bridge.fleet.sbom.advisories import judge, read_advisories
from firmware_bridge.fleet.sbom.parts import UNKNOWN, Part, generic
from firmware_bridge.fleet.sbom.versions import key_of
from firmware_bridge.fleet.sbom.vex import read_statements, statement_for

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = Part(
    ref="pkg:pypi/fast-engine@2.5",
    name="fast-engine",
    version="2.5",
    purl="pkg:pypi/fast-engine@2.5",
    ecosystem="PyPI",
)
OPENSSL = generic("openssl", "1.1.1k", repository="github.com/openssl/openssl")
PACKAGE = Part(
    ref="pkg:deb/debian/libssl3@3.0.11-1?arch=amd64",
    name="libssl3",
    version="3.0.11-1",
    purl="pkg:deb/debian/libssl3@3.0.11-1?arch=amd64",
    ecosystem="Debian:12",
    known_as="openssl",
    known_version="3.0.11-1",
)
PARTS = [LIBRARY, OPENSSL, PACKAGE]


def record(name: str = "CVE-1", **affected: Any) -> dict[str, Any]:
    return {"id": name, "modified": "2031-01-01T00:00:00Z", "affected": [affected]}


def ranged(ecosystem: str, name: str, *events: dict[str, str]) -> dict[str, Any]:
    return record(
        package={"ecosystem": ecosystem, "name": name},
        ranges=[{"type": "ECOSYSTEM", "events": list(events)}],
    )


def from_commits(*versions: str) -> dict[str, Any]:
    repository = "https://github.com/openssl/openssl.git"
    git_range = {"type": "GIT", "repo": repository, "events": [{"introduced": "0"}]}
    return record(ranges=[git_range], versions=list(versions))


def outcomes(folder: Path, *records: dict[str, Any], vex: Path | None = None) -> list[Any]:
    file = folder / "advisories.json"
    file.write_text(json.dumps(list(records)))
    statements = read_statements(vex) if vex is not None else []
    return [
        (finding.component, finding.outcome)
        for finding in judge(read_advisories(file), PARTS, statements)
    ]


@pytest.mark.parametrize(
    ("advisory", "component"),
    [
        (ranged("PyPI", "Fast_Engine", {"introduced": "0"}, {"fixed": "2.10"}), "fast-engine"),
        (
            ranged("PyPI", "fast-engine", {"introduced": "2"}, {"last_affected": "2.5"}),
            "fast-engine",
        ),
        (ranged("Debian:12", "openssl", {"introduced": "0"}, {"fixed": "3.0.11-1+b1"}), "libssl3"),
        (ranged("Debian", "openssl", {"introduced": "0"}), "libssl3"),
        (from_commits("OpenSSL_1_1_1j", "OpenSSL_1_1_1k"), "openssl"),
        (
            record(package={"ecosystem": "PyPI", "name": "fast-engine"}, versions=["2.5"]),
            "fast-engine",
        ),
        (record(package={"purl": "pkg:pypi/fast-engine"}, versions=["2.5"]), "fast-engine"),
        (record(package={"purl": "pkg:deb/debian/openssl"}, versions=["3.0.11-1"]), "libssl3"),
        (record(package={"purl": "pkg:generic/openssl"}, versions=["1.1.1k"]), "openssl"),
    ],
)
def test_an_affected_component_is_found(
    tmp_path: Path, advisory: dict[str, Any], component: str
) -> None:
    assert outcomes(tmp_path, advisory) == [(component, "affected")]


@pytest.mark.parametrize(
    "advisory",
    [
        ranged("PyPI", "fast-engine", {"introduced": "0"}, {"fixed": "2.5"}),
        ranged("PyPI", "fast-engine", {"introduced": "2.6"}),
        ranged("PyPI", "fast-engine", {"introduced": "0"}, {"last_affected": "2.4"}),
        ranged("PyPI", "other-engine", {"introduced": "0"}),
        ranged("npm", "fast-engine", {"introduced": "0"}),
        ranged("Debian:11", "openssl", {"introduced": "0"}),
        ranged("Debian:12", "openssl", {"introduced": "0"}, {"fixed": "3.0.11-1~deb12u1"}),
        record(
            package={
                "ecosystem": "Debian:11",
                "name": "openssl",
                "purl": "pkg:deb/debian/openssl?arch=source",
            },
            ranges=[{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        ),
        from_commits("OpenSSL_1_1_1j"),
        ranged("PyPI", "fast-engine", {"introduced": "0"}) | {"withdrawn": "2031-01-01T00:00:00Z"},
    ],
)
def test_another_component_or_version_is_not(tmp_path: Path, advisory: dict[str, Any]) -> None:
    assert outcomes(tmp_path, advisory) == []


def test_a_component_that_is_affected_again_is_found(tmp_path: Path) -> None:
    """A component that was affected, fixed and affected again is found."""
    events = [
        {"introduced": "2.4"},
        {"limit": "*"},
        {"fixed": "1.2"},
        {"introduced": "1.0"},
        {"fixed": "3"},
    ]
    assert outcomes(tmp_path, ranged("PyPI", "fast-engine", *events)) == [
        ("fast-engine", "affected")
    ]


def test_what_cannot_be_decided_is_never_passed_over(tmp_path: Path) -> None:
    assert outcomes(tmp_path, from_commits()) == [("openssl", "undecided")]
    strange = ranged("PyPI", "fast-engine", {"introduced": "a while ago"})
    assert outcomes(tmp_path, strange) == [("fast-engine", "undecided")]
    file = tmp_path / "advisories.json"
    file.write_text(json.dumps(from_commits("OpenSSL_1_1_1k")))
    unknown = generic("openssl", UNKNOWN, repository="github.com/openssl/openssl")
    (finding,) = judge(read_advisories(file), [unknown])
    assert finding.outcome == "undecided"


@pytest.mark.parametrize("form", [lambda one: one, lambda one: [one], lambda one: {"vulns": [one]}])
def test_each_form_of_the_file_is_read(tmp_path: Path, form: Any) -> None:
    file = tmp_path / "advisories.json"
    file.write_text(json.dumps(form(from_commits("OpenSSL_1_1_1k"))))
    assert [advisory.id for advisory in read_advisories(file)] == ["CVE-1"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"vulns": 1}', "\xff", "[" * 5000])
def test_what_is_no_list_of_advisories_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "advisories.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="holds no advisories"):
        read_advisories(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_advisories(tmp_path / "gone.json")


ORDERED = {
    "PyPI": ["1.0a1", "1.0", "1.0.post1", "1.2", "1.10"],
    "Debian:12": ["1.0~rc1-1", "1.0-1~deb12u1", "1.0-1", "1.0-1+b1", "1.0-2", "1.0a-1", "1:0.5"],
    "": ["1.1.1", "1.1.1a", "1.1.1k", "1.1.1z", "1.1.1za", "1.1.2", "1.10"],
}


@pytest.mark.parametrize("ecosystem", ORDERED)
def test_versions_have_the_order_of_their_ecosystem(ecosystem: str) -> None:
    versions, key = ORDERED[ecosystem], key_of(ecosystem)
    for older, newer in pairwise(versions):
        assert key(older) < key(newer)
        assert not key(newer) < key(older)
        assert not key(older) < key(older)


@given(st.text(max_size=12), st.sampled_from([*ORDERED, "npm"]))
def test_any_text_is_a_version_or_a_value_error(text: str, ecosystem: str) -> None:
    key = key_of(ecosystem)
    try:
        one = key(text)
    except ValueError:
        return
    assert not one < key(text)


def write_vex(folder: Path, *statements: dict[str, Any]) -> Path:
    file = folder / "vex.json"
    file.write_text(json.dumps({"author": "us", "statements": list(statements)}))
    return file


def stated(status: str, product: Any, name: str = "CVE-1", **more: str) -> dict[str, Any]:
    entry = product if isinstance(product, dict) else {"@id": product}
    return {"vulnerability": {"name": name}, "status": status, "products": [entry], **more}


NOT = {"justification": "vulnerable_code_not_in_execute_path"}


def test_a_vex_statement_counts_for_its_product_alone(tmp_path: Path) -> None:
    advisory = from_commits("OpenSSL_1_1_1k")
    for product, outcome in {
        "pkg:generic/openssl@1.1.1k": "cleared",
        "pkg:generic/openssl": "cleared",
        "pkg:generic/openssl@1.1.1j": "affected",
        "pkg:pypi/openssl": "affected",
        "openssl": "affected",
    }.items():
        vex = write_vex(tmp_path, stated("not_affected", product, **NOT))
        assert outcomes(tmp_path, advisory, vex=vex) == [("openssl", outcome)], product
    entry = {"@id": "pkg:pypi/edge-difom", "subcomponents": [{"@id": "pkg:generic/openssl"}]}
    vex = write_vex(tmp_path, stated("not_affected", entry, **NOT))
    assert outcomes(tmp_path, advisory, vex=vex) == [("openssl", "cleared")]
    other = write_vex(tmp_path, stated("not_affected", "pkg:generic/openssl", "CVE-2", **NOT))
    assert outcomes(tmp_path, advisory, vex=other) == [("openssl", "affected")]


def test_an_alias_is_the_same_vulnerability(tmp_path: Path) -> None:
    """An alias is the same vulnerability and the newest statement holds."""
    advisory = from_commits("OpenSSL_1_1_1k") | {"id": "OSV-7", "aliases": ["CVE-1"]}
    older = stated("not_affected", "pkg:generic/openssl", timestamp="2031-01-01T00:00:00Z", **NOT)
    newer = stated("affected", "pkg:generic/openssl", timestamp="2031-02-01T00:00:00Z")
    assert outcomes(tmp_path, advisory, vex=write_vex(tmp_path, older)) == [("openssl", "cleared")]
    vex = write_vex(tmp_path, newer, older)
    assert outcomes(tmp_path, advisory, vex=vex) == [("openssl", "affected")]
    statement = statement_for(read_statements(vex), ["CVE-1"], "pkg:generic/openssl@1.1.1k")
    assert statement is not None
    assert statement.status == "affected"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (stated("not_affected", "pkg:generic/openssl"), "without a justification"),
        (stated("harmless", "pkg:generic/openssl"), "status 'harmless'"),
        (stated("fixed", {}), "no product"),
        (stated("fixed", "pkg:generic/openssl", ""), "without the name"),
    ],
)
def test_a_statement_that_says_too_little_is_refused(
    tmp_path: Path, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        read_statements(write_vex(tmp_path, wrong))
