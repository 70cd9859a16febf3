"""A bill of materials names all that runs a bundle, and validates against its schema."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edge.bundle.reader import Bundle
from edge.bundle.shipped import shipped_bundles
from edge.errors import DataError, MissingDependencyError, UsageError
from edge_difom.cli import main as cli
from firmware_bridge.fleet.sbom.bill import make_bill, soup_table, validate
from firmware_bridge.fleet.sbom.model_card import model_card
from firmware_bridge.fleet.sbom.packages import Package, needed
from firmware_bridge.fleet.sbom.parts import Part, generic
from firmware_bridge.fleet.sbom.support import read_rules
from firmware_bridge.fleet.sbom.system import firmware_parts
from firmware_bridge.fleet.sbom.vex import Statement

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2031, 5, 1, tzinfo=timezone.utc)


def install(site: Path, name: str, *lines: str, version: str = "1.0") -> None:
    """A distribution's metadata, and nothing else of it."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    text = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]
    (folder / "METADATA").write_text("\n".join(text) + "\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A project with an engine as an extra, a loop, and what other systems need."""
    place = tmp_path / "site"
    install(
        place,
        "edge-difom",
        "License-Expression: Apache-2.0",
        "Provides-Extra: engine",
        "Requires-Dist: numerics>=1",
        "Requires-Dist: Fast_Engine[quick]; extra == 'engine'",
        "Requires-Dist: elsewhere; sys_platform == 'none'",
    )
    install(
        place,
        "numerics",
        "Classifier: License :: OSI Approved :: BSD License",
        "Author: N. Umerics",
    )
    install(
        place,
        "fast-engine",
        "License: License of our own",
        "Provides-Extra: quick",
        "Requires-Dist: numerics",
        "Requires-Dist: quickener; extra == 'quick'",
        version="2.5",
    )
    install(place, "quickener", "Requires-Dist: fast-engine")
    return place


def test_what_is_needed_is_followed(site: Path) -> None:
    plain = needed([], path=[str(site)])
    assert [package.name for package in plain] == ["edge-difom", "numerics"]
    packages = {package.name: package for package in needed(["engine"], path=[str(site)])}
    assert list(packages) == ["edge-difom", "fast-engine", "numerics", "quickener"]
    assert packages["fast-engine"].requires == ["numerics", "quickener"]
    assert [package.license for package in packages.values()] == [
        "Apache-2.0",
        "License of our own",
        "BSD License",
        "unknown",
    ]
    assert packages["numerics"].supplier == "N. Umerics"


def test_what_is_not_there_is_told(site: Path) -> None:
    with pytest.raises(UsageError, match="no extra 'camera'"):
        needed(["camera"], path=[str(site)])
    for file in (site / "quickener-1.0.dist-info").iterdir():
        file.unlink()
    (site / "quickener-1.0.dist-info").rmdir()
    with pytest.raises(MissingDependencyError, match="quickener is not installed"):
        needed(["engine"], path=[str(site)])


def test_the_bill_is_valid_whole_and_the_same_again(site: Path, publisher: Any) -> None:
    bundle = Bundle.open(publisher.bundle(b"<net/>"))
    packages = needed(["engine"], path=[str(site)])
    text = make_bill(bundle, packages, NOW)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert make_bill(bundle, packages, NOW) == text
    bill = json.loads(text)
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": bundle.digest}]
    components = {part["bom-ref"]: part for part in bill["components"]}
    assert (
        components["file:model.xml"]["hashes"][0]["content"] == bundle.manifest.files["model.xml"]
    )
    assert components["pkg:pypi/fast-engine@2.5"]["licenses"] == [
        {"license": {"name": "License of our own"}}
    ]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert needs["pkg:pypi/fast-engine@2.5"] == ["pkg:pypi/numerics@1.0", "pkg:pypi/quickener@1.0"]


def test_the_bill_has_card_support_system_and_statements(site: Path, publisher: Any) -> None:
    bundle = Bundle.open(publisher.bundle(b"<net/>"))
    packages = needed(["engine"], path=[str(site)])
    openssl = generic(
        "openssl", "1.1.1k", vendor="openssl", files=("a.so",), owners=(packages[1].ref,)
    )
    file = Part(
        ref="wheel:a.so", name="a.so", version="unknown", purl="", kind="file", sha256="0" * 64
    )
    statement = Statement(
        names=["CVE-1", "OSV-1"],
        status="not_affected",
        products=["pkg:generic/openssl"],
        justification="vulnerable_code_not_in_execute_path",
        detail="no network",
    )
    text = make_bill(
        bundle,
        packages,
        NOW,
        parts=[openssl, file, *firmware_parts()],
        rules=read_rules(),
        statements=[statement],
    )
    assert validate(text)
    bill = json.loads(text)
    card = bill["metadata"]["component"]["modelCard"]
    assert card["considerations"]["useCases"] == [bundle.manifest.intended_use]
    parts = {part["bom-ref"]: part for part in bill["components"]}
    assert parts["wheel:a.so"]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    support = {
        ref: {each["name"]: each["value"] for each in part.get("properties", [])}
        for ref, part in parts.items()
    }
    assert support[openssl.ref]["edge-difom:support:level"] == "no longer maintained"
    assert support[packages[1].ref]["edge-difom:support:level"] == "unknown"
    assert parts[openssl.ref]["evidence"]["occurrences"][0]["location"] == "a.so"
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert openssl.ref in needs[packages[1].ref]
    assert any(ref.startswith("pkg:generic/zcbor@") for ref in parts)
    (vulnerability,) = bill["vulnerabilities"]
    assert vulnerability["analysis"]["state"] == "not_affected"
    assert vulnerability["analysis"]["justification"] == "code_not_reachable"
    assert vulnerability["affects"] == [{"ref": openssl.ref}]


def test_a_bill_that_breaks_its_schema_is_never_written() -> None:
    with pytest.raises(DataError, match="breaks its schema"):
        validate('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": 3}')


def test_the_card_states_the_accuracy_with_its_interval() -> None:
    manifest = Bundle.open(shipped_bundles()["edge-s"]).manifest
    card = model_card(manifest)
    dice = [
        metric
        for metric in card["quantitativeAnalysis"]["performanceMetrics"]
        if metric["type"] == "Dice"
    ]
    assert len(dice) == len(manifest.accuracy)
    assert dice[0]["value"] == f"{manifest.accuracy[0].dice:.4f}"
    assert dice[0]["confidenceInterval"].keys() == {"lowerBound", "upperBound"}


def test_the_table_has_a_row_for_each_package(publisher: Any) -> None:
    bundle = Bundle.open(publisher.bundle(b"<net/>"))
    one = Package(
        name="a", version="1", license="MIT", supplier="A | B", summary="", requires=["b"]
    )
    two = Package(
        name="b", version="2", license="unknown", supplier="unknown", summary="", requires=[]
    )
    own = Package(
        name="edge-difom", version="3", license="MIT", supplier="us", summary="", requires=["a"]
    )
    table = soup_table(bundle, [one, two, own])
    assert "| us |" not in table
    assert "| a | 1 | A \\| B | MIT | edge-difom |" in table
    assert "| b | 2 | unknown | unknown | a |" in table


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return ended.value.code


def test_the_command_writes_bill_and_table_and_compares(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, soup = tmp_path / "sbom.json", tmp_path / "soup.md"
    arguments = ["bundle", "sbom", str(tiny_bundle), "--out", str(out), "--soup", str(soup)]
    advisories = tmp_path / "advisories.json"
    advisory = {
        "id": "CVE-1",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "msgspec"}, "versions": []}],
    }
    advisory["affected"][0]["ranges"] = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]  # type: ignore[index]
    advisories.write_text(json.dumps(advisory))
    assert status(*arguments) == 0, capsys.readouterr().err
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(out.read_text()) is None
    names = {part["name"] for part in json.loads(out.read_text())["components"]}
    assert {"openvino", "numpy", "click", "engines/tflite/model.tflite"} <= names
    assert {"python", "zcbor", "edge-difom-controller"} <= names
    assert "torch" not in names
    assert "| openvino |" in soup.read_text()
    assert status(*arguments) == 2
    assert status("bundle", "sbom", str(tiny_bundle)) == 2
    check = ["bundle", "sbom", str(tiny_bundle), "--no-system", "--check", str(advisories)]
    capsys.readouterr()
    assert status(*check) == 12
    printed = capsys.readouterr()
    assert "CVE-1" in printed.out
    assert "msgspec" in printed.err
    vex = tmp_path / "vex.json"
    statement = {
        "vulnerability": {"name": "CVE-1"},
        "products": [{"@id": "pkg:pypi/msgspec"}],
        "status": "not_affected",
        "justification": "component_not_present",
    }
    vex.write_text(json.dumps({"statements": [statement]}))
    assert status(*check, "--vex", str(vex)) == 0
