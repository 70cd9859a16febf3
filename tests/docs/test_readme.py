"""Commands in the README, the pages and the help of every verb exist, and so do their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from edge.util.extras import resolve
from edge_difom.cli.main import VERBS
from tests.support.command_lines import parse_command

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_in(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        line.strip().removeprefix("$ ").split(" #")[0].strip()
        for line in joined.splitlines()
        if line.strip().removeprefix("$ ").startswith("edge-difom ")
    ]


def page_commands(page: Path) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(), re.DOTALL)
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    inline = [
        " ".join(command.split()) for command in re.findall(r"`(edge-difom [a-z][^`]*)`", prose)
    ]
    inline_commands = [command for command in inline if " -" in command and page.name != "cli.md"]
    return [command for block in blocks for command in commands_in(block)] + inline_commands


def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        commands = []
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            commands += leaves(inner, f"{path} {name}")
        return commands
    return [(path, command)]


VERB_COMMANDS = [leaf for verb, row in VERBS.items() for leaf in leaves(resolve(row[0]), verb)]
WRITTEN = sorted(
    {(str(page.relative_to(ROOT)), line) for page in PAGES for line in page_commands(page)}
)


def parse(line: str) -> None:
    parse_command(shlex.split(line)[1:])


def test_the_readme_has_the_commands_of_the_whole_path() -> None:
    verbs = {shlex.split(line)[1] for line in page_commands(README)}
    assert {"distill", "qat", "bundle", "verify", "run", "bench", "doctor", "device"} <= verbs


def test_the_readme_is_two_screens() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 190
    assert len(text.encode()) <= 12_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_wrapped_at_100_columns(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).splitlines()
    wide = [
        line for line in prose if len(line) > 100 and not re.match(r"[|\[*]|!\[|Commands: ", line)
    ]
    assert not wide


def test_every_verb_is_used_on_a_page() -> None:
    assert len(WRITTEN) > 100
    assert VERBS.keys() <= {shlex.split(line)[1] for _, line in WRITTEN}


@pytest.mark.parametrize(("page", "line"), WRITTEN)
def test_a_command_of_a_page_is_understood(page: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    ("path", "command"), VERB_COMMANDS, ids=[path for path, _ in VERB_COMMANDS]
)
def test_every_verb_has_three_examples_that_are_understood(
    path: str, command: click.Command
) -> None:
    lines = commands_in(command.epilog or "")
    assert len(lines) >= 3
    assert all(line.startswith(f"edge-difom {path}") for line in lines)
    for line in lines:
        parse(line)
