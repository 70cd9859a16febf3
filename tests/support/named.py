"""Finds what a document names in the source tree: files, definitions and tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def home(file: str) -> Path:
    """Path of a file as a document names it: tests from `tests/` on, others from the root on."""
    return ROOT / ("tests" if Path(file).name.startswith("test_") else "") / file


def missing(file: str, name: str = "") -> str:
    """What a document names and the tree has not; empty if it is there.

    Args:
        file: A file; a test's begins below `tests/`.
        name: Function, class, method (`Class.method`) or, outside Python, any word; empty for the
            file alone.
    """
    path = home(file)
    if not path.is_file():
        return f"{file} does not exist"
    if name and not (
        name in definitions(path)
        if path.suffix == ".py"
        else re.search(rf"\b{re.escape(name)}\b", path.read_text())
    ):
        return f"{file} has no {name}"
    return ""


@cache
def definitions(path: Path) -> frozenset[str]:
    """Functions and classes of a module, methods with their class."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{part.name}"
                for part in node.body
                if isinstance(part, ast.FunctionDef)
            }
    return frozenset(names)
