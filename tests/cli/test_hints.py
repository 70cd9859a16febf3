"""Libraries name no option of the command line; the shell adds the hints that do."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

import pytest

from edge.errors import UsageError
from edge_difom.cli.hints import OPTION_HINTS, explain
from edge_difom.cli.main import VERBS, main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LIBRARIES = ("edge", "distill", "quantize", "firmware_bridge")
PROGRAMS = ("edge/presenter/__main__.py", "firmware_bridge/cart/simcart/__main__.py")
"""Programs of their own with command lines of their own, started as processes."""
LIMITS = ("both", "max_drop", "max_small_drop")
"""The codes of the accuracy gate are composed, so that no constant of them is in the source."""
FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(rf"edge-difom ({'|'.join(VERBS)})\b")
OTHER_PROGRAMS = re.compile(r"pip install|docker run")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the path and the syntax tree of every module of the libraries."""
    for library in LIBRARIES:
        for path in sorted((ROOT / library).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def errors_made() -> Iterator[ast.Call]:
    """Yield every call of the libraries that makes an error with a code."""
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and any(key.arg == "code" for key in node.keywords):
                yield node


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of the strings; not docstrings and arguments of processes."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} | {
        id(item)
        for node in ast.walk(tree)
        if isinstance(node, ast.List | ast.Tuple)
        for item in node.elts
        if isinstance(item, ast.Constant) and re.fullmatch(r"--\S+", str(item.value))
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in skipped:
                yield node.lineno, text


def test_libraries_name_no_option_and_no_command() -> None:
    lines_found = [
        f"{path}:{line}: {text}"
        for path, tree in modules()
        if path not in PROGRAMS
        for line, text in texts(tree)
        if FLAG.search(text) or COMMAND.search(text)
        if not OTHER_PROGRAMS.search(text)
    ]
    assert not lines_found


def test_every_code_of_an_error_has_a_hint_and_every_hint_a_code() -> None:
    codes = {
        keyword.value.value
        for call in errors_made()
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert codes | {f"gate-{limit}" for limit in LIMITS} == set(OPTION_HINTS)


def test_a_hint_of_the_table_can_hold_the_error_s_own() -> None:
    error = UsageError("lost", hint="quantize again with 10 epochs", code="gate-max_drop")
    assert "quantize again with 10 epochs (--epochs" in explain(error)
    assert explain(error).endswith("--judge-again with a larger --max-drop")


def test_an_error_has_the_values_that_its_hint_contains() -> None:
    for call in errors_made():
        keywords = {key.arg: key.value for key in call.keywords}
        code, values = keywords["code"], keywords.get("values")
        if not isinstance(code, ast.Constant):
            continue
        hint = OPTION_HINTS[str(code.value)]
        names = {name for _, name, _, _ in Formatter().parse(hint) if name}
        assert values is None or isinstance(values, ast.Dict)
        assert names == {
            key.value for key in (values.keys if values else ()) if isinstance(key, ast.Constant)
        }, hint


@pytest.mark.parametrize(
    ("code", "expected"),
    [("unknown-load", "--rate max --rate 30"), ("", "use max"), ("no such code", "use max")],
)
def test_the_shell_replaces_a_hint_by_its_code(code: str, expected: str) -> None:
    error = UsageError("no such load", expected="max", got="fast", hint="use max", code=code)
    assert str(error).endswith("hint:     use max")
    assert (
        explain(error) == f"no such load\n  expected: max\n  got:      fast\n  hint:     {expected}"
    )


def test_values_are_quoted_for_a_shell() -> None:
    error = UsageError("no", hint="it", code="not-quantized", values={"run": "my run", "bits": 4})
    assert str(error).endswith("hint:     it")
    assert explain(error).endswith("hint:     edge-difom qat 'my run' --bits 4")


def test_the_command_line_prints_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bundle", "show", "no/such/bundle"])
    assert caught.value.code != 0
    assert "hint:     edge-difom bundle make RUN --out DIR" in capsys.readouterr().err
