"""The README's commands and the examples of every verb are commands that exist, with options that they take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from edge.util.extras import resolve
from edge_difom.cli.bench import BenchGroup
from edge_difom.cli.main import VERBS

ROOT = Path(__file__).parents[2]


def commands_in(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        line.strip().removeprefix("$ ").split(" #")[0].strip()
        for line in joined.splitlines()
        if line.strip().removeprefix("$ ").startswith("edge-difom ")
    ]


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [command for block in blocks for command in commands_in(block)]


def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = []
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found += leaves(inner, f"{path} {name}")
        return found
    return [(path, command)]


VERB_COMMANDS = [leaf for verb, row in VERBS.items() for leaf in leaves(resolve(row[0]), verb)]


def parse(line: str) -> None:
    _, verb, *arguments = shlex.split(line)
    command: click.Command = resolve(VERBS[verb][0])
    while isinstance(command, click.Group):
        if isinstance(command, BenchGroup):
            arguments = command.with_default(arguments)
        name, *arguments = arguments
        inner = command.get_command(click.Context(command), name)
        assert inner is not None, name
        command = inner
    command.make_context(command.name, arguments)


def test_the_readme_has_the_commands_of_the_whole_path() -> None:
    verbs = {shlex.split(line)[1] for line in readme_commands()}
    assert {"distill", "qat", "bundle", "verify", "evaluate", "run", "bench", "doctor"} <= verbs


@pytest.mark.parametrize("line", readme_commands())
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    parse(line)


@pytest.mark.parametrize(("path", "command"), VERB_COMMANDS, ids=[path for path, _ in VERB_COMMANDS])
def test_every_verb_has_three_examples_that_are_understood(path: str, command: click.Command) -> None:
    lines = commands_in(command.epilog or "")
    assert len(lines) >= 3
    assert all(line.startswith(f"edge-difom {path}") for line in lines)
    for line in lines:
        parse(line)
