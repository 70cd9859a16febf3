"""Suggestions for mistyped verbs and options, from the whole command tree."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from edge.errors import EdgeDifomError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CUTOFF = 0.6
"""Similarity (0 to 1) from which a name is suggested."""


def near_command(ctx: click.Context, word: str) -> str | None:
    """Return the command path that a mistyped verb most likely means.

    Args:
        ctx: Context of the group that does not know the verb.
        word: The verb as typed.

    Returns:
        A path such as `edge-difom device still`; None if nothing is similar. Among equally similar
        names, one of the group itself is preferred.
    """
    own = ctx.command_path
    paths = [path for path, _ in walk(ctx.find_root())]

    def rank(path: str) -> tuple[float, bool, int]:
        ratio = difflib.SequenceMatcher(None, word, path.rpartition(" ")[2]).ratio()
        return ratio, path.rpartition(" ")[0] == own, -path.count(" ")

    best = max(paths, key=rank, default=None)
    return best if best is not None and rank(best)[0] >= _CUTOFF else None


def near_option(ctx: click.Context, word: str) -> str | None:
    """Return the option that a mistyped one most likely means.

    Args:
        ctx: Context of the command that does not know the option.
        word: The option as typed, such as `--spurce`.

    Returns:
        An option such as `--source`, or `edge-difom run --source` if only a different command has
        it; None if nothing is similar.
    """
    own = difflib.get_close_matches(word, options(ctx.command), n=1, cutoff=_CUTOFF)
    if own:
        return own[0]
    best, score = None, _CUTOFF
    for path, command in walk(ctx.find_root()):
        for option in options(command):
            ratio = difflib.SequenceMatcher(None, word, option).ratio()
            if ratio > score:
                best, score = f"{path} {option}", ratio
    return best


def options(command: click.Command) -> list[str]:
    """Return every long spelling of a command's options."""
    return [
        spelling
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for spelling in (*parameter.opts, *parameter.secondary_opts)
        if spelling.startswith("--")
    ]


def walk(root: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield path and command of everything below a context; skip commands that fail to import."""
    group = root.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(root):
        try:
            command = group.get_command(root, name)
        except (EdgeDifomError, ImportError):
            continue
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=root)
        yield f"{root.command_path} {name}", command
        yield from walk(inner)
