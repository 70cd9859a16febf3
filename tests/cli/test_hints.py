"""Libraries name no option of the command line; the shell adds the hints that do."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.errors import UsageError
from edge_difom.cli.hints import OPTION_HINTS, explain
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

EDGE = Path(__file__).parents[2] / "edge"
OPTION = re.compile(r"(?<![\w-])--[a-z]")
OTHER_PROGRAMS = re.compile(r"pip install|docker run")


def errors_made() -> Iterator[tuple[Path, ast.Call]]:
    """Yield every call in `edge/` that makes an error of the project."""
    for path in sorted(EDGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id.endswith("Error")
            ):
                yield path, node


def texts(call: ast.Call) -> Iterator[str]:
    for node in ast.walk(call):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_errors_of_the_device_library_name_no_option() -> None:
    named = [
        f"{path.relative_to(EDGE)}:{call.lineno}: {text}"
        for path, call in errors_made()
        for text in texts(call)
        if OPTION.search(text) and not OTHER_PROGRAMS.search(text)
    ]
    assert not named


def test_every_code_of_an_error_has_a_hint_and_every_hint_a_code() -> None:
    codes = {
        keyword.value.value
        for _, call in errors_made()
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert codes == set(OPTION_HINTS)


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


def test_the_command_line_prints_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bundle", "show", "no/such/bundle"])
    assert caught.value.code != 0
    assert "hint:     edge-difom bundle make RUN --out DIR" in capsys.readouterr().err
