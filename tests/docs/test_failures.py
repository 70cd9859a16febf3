"""The page of failures: every row has its line, and every test that it names exists."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("the tool reads TOML, which Python has from 3.11 on", allow_module_level=True)

import tomllib

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"mark\.row\(\s*(\d+),")


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("failures", ROOT / "tools/failures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    table: dict[str, list[str]] = tomllib.loads((ROOT / "docs/failures.toml").read_text())["rows"]
    return table


def test_rows_are_numbered_without_a_gap(rows: dict[str, list[str]]) -> None:
    assert list(map(int, rows)) == list(range(1, 60))
    assert all(len(row) == 2 for row in rows.values())


def test_a_marker_names_a_row(rows: dict[str, list[str]]) -> None:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in MARK.findall(path.read_text()):
            assert number in rows, f"{path.name} injects row {number}"


def test_a_page_lists_injections_by_row_and_what_is_missing(tool: Any) -> None:
    """A page lists injections by row and says what is not shown."""
    record = {"row": 2, "how": "a fake", "test": "test_x.py::test_y", "outcome": "passed"}
    text = tool.page(
        {"1": ["A", "a"], "2": ["B", "b"]},
        {"suite": [record], "vm": [record | {"how": "a camera"}]},
    )
    first, second = text.split("\n## ")[1:]
    assert first == "1. A\n\nA.\n\nNot shown yet.\n"
    assert second.startswith("2. B\n\nB.\n\n")
    assert "* `test_x.py::test_y` (test suite): passed\n  A fake.\n" in second
    assert "* `test_x.py::test_y` (virtual machine): passed\n  A camera.\n" in second


def test_every_test_that_the_page_names_exists_and_passed(rows: dict[str, list[str]]) -> None:
    page = (ROOT / "docs/failures.md").read_text()
    tests_named = re.findall(r"^\* `([\w/.]+)::(\w+)` \([^)]*\): (\w+)$", page, re.MULTILINE)
    assert len(tests_named) > 50
    for file, test, outcome in tests_named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file} has no {test}"
        assert outcome == "passed", f"{file}::{test}"
    for number, (failure, _) in rows.items():
        assert f"\n## {number}. {failure}\n" in page
