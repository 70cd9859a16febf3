"""Command lines of documents, parsed as the command line would parse them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from edge.util.extras import resolve
from edge_difom.cli.bench import BenchGroup
from edge_difom.cli.main import VERBS

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_command(words: Sequence[str]) -> None:
    """Parse the words after `edge-difom`; raises click's error if they are no command."""
    verb, *arguments = words
    command: click.Command = resolve(VERBS[verb][0])
    while isinstance(command, click.Group):
        if isinstance(command, BenchGroup):
            arguments = command.with_default(arguments)
        name, *arguments = arguments
        inner = command.get_command(click.Context(command), name)
        assert inner is not None, name
        command = inner
    with contextlib.suppress(click.exceptions.Exit):  # of an option such as --help-config
        command.make_context(command.name, arguments)
