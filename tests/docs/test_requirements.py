"""docs/requirements.toml: what it names exists, and the page is made from it."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest

from tests.support.named import ROOT, missing

if sys.version_info < (3, 11):
    pytest.skip("the tool reads TOML, which Python has from 3.11 on", allow_module_level=True)

import tomllib

CONTENT: dict[str, Any] = tomllib.loads((ROOT / "docs/requirements.toml").read_text())
ROWS: dict[str, dict[str, Any]] = CONTENT["requirements"]


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location(
        "requirements_page", ROOT / "tools/requirements_page.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_requirements(tool: Any) -> None:
    assert (ROOT / "docs/requirements.md").read_text() == tool.page(CONTENT), "run `make pages`"


@pytest.mark.parametrize("key", ROWS)
def test_a_requirement_is_a_sentence_with_tests_and_records(key: str) -> None:
    """A requirement is one sentence with tests and records that exist."""
    row = ROWS[key]
    assert re.fullmatch(r"[A-Z]{3}-\d+", key)
    assert key.partition("-")[0] in CONTENT["areas"]
    assert row.keys() <= {"text", "tests", "records", "gap"}
    assert row["text"].endswith(".")
    assert row["tests"]
    assert not [text for test in row["tests"] if (text := missing(*test.split("::")))]
    results = ROOT / "benchmarks/results"
    assert not [name for name in row["records"] if not (results / name).is_file()]


def test_every_area_has_requirements() -> None:
    assert {key.partition("-")[0] for key in ROWS} == set(CONTENT["areas"])


def test_a_requirement_without_a_record_says_so_in_the_matrix(tool: Any) -> None:
    rows = {
        "AAA-1": {"text": "A.", "tests": ["t.py::test_a"], "records": []},
        "AAA-2": {"text": "B.", "tests": ["t.py::test_b"], "records": ["r.json"], "gap": "Half."},
    }
    text = tool.page({"areas": {"AAA": "Area"}, "requirements": rows})
    assert "| [AAA-1](#aaa-1) | Area | 1 | none | no |" in text
    assert "| [AAA-2](#aaa-2) | Area | 1 | [r.json](../benchmarks/results/r.json) | yes |" in text
    assert "### AAA-2\n\nB.\n\n* `t.py::test_b`\n* record [r.json]" in text
    assert text.endswith("**Gap:** Half.\n")
