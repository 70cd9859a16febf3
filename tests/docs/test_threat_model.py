"""docs/threat-model.md: all that it names exists, and each threat has a mitigation and a test."""

from __future__ import annotations

import re

import pytest

from tests.support.named import ROOT, missing

PAGE = (ROOT / "docs/threat-model.md").read_text()
DEFINED = re.compile(r"`([\w/.-]+\.\w+)::([\w.]+)`")
FILES = re.compile(r"`((?:[\w-]+/)+[\w.-]+\.\w+)`")
INTERFACES = (
    "bundle archive",
    "engine file",
    "TUF",
    "stick",
    "slots",
    "audit log",
    "shared memory",
    "controller",
    "web view",
    "RTSP",
    "DICOM",
    "journal",
    "checkpoints",
    "plug-ins",
)


def tables(heading: str) -> list[list[str]]:
    """Rows below every table head that begins with a word, as cells."""
    rows = []
    for block in re.split(r"\n\n", PAGE):
        lines = block.splitlines()
        if lines and lines[0].startswith(f"| {heading} |"):
            rows += [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    return rows


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_everything_that_the_page_names_exists() -> None:
    definitions = set(DEFINED.findall(PAGE)) | {(file, "") for file in FILES.findall(PAGE)}
    assert len(definitions) > 150
    assert not [
        text
        for file, name in sorted(definitions)
        if (text := missing(file.removeprefix("tests/") if "test_" in file else file, name))
    ]


@pytest.mark.parametrize("row", tables("threat"), ids=lambda row: row[0][:40])
def test_each_threat_has_a_mitigation_in_the_code_and_a_test(row: list[str]) -> None:
    _, mitigation, test = row
    assert DEFINED.search(mitigation) or FILES.search(mitigation)
    assert all(file.rpartition("/")[2].startswith("test_") for file, _ in DEFINED.findall(test))
    assert DEFINED.search(test)


def test_each_threat_names_attackers_of_the_page() -> None:
    attackers = {row[0].partition(":")[0] for row in tables("attacker")}
    assert len(attackers) > 7
    used = set()
    for threat, *_ in tables("threat"):
        who = set(threat.partition(":")[0].split(", "))
        assert who <= attackers, threat
        used |= who
    assert used == attackers


def test_each_interface_of_the_project_is_on_the_page() -> None:
    interfaces = " ".join(cell for row in tables("interface") for cell in row)
    assert not [word for word in INTERFACES if word not in interfaces]


def test_the_page_says_what_is_not_mitigated() -> None:
    assert len(re.findall(r"^\* \*\*", section("Not mitigated"), re.MULTILINE)) > 10
    assert "Not a medical device" in PAGE


def test_a_name_that_is_gone_is_found() -> None:
    assert missing("edge/bundle/store.py", "check_name") == ""
    assert missing("edge/bundle/reader.py", "Bundle.open") == ""
    assert (
        missing("edge/bundle/store.py", "check_nothing")
        == "edge/bundle/store.py has no check_nothing"
    )
    assert missing("edge/bundle/gone.py") == "edge/bundle/gone.py does not exist"
    assert missing("docs/test_threat_model.py", "test_a_name_that_is_gone_is_found") == ""
    assert missing("firmware_bridge/cart/firmware/core/route.c", "may_overlay") == ""
