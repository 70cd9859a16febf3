"""Make docs/cli.md from the command tree: every verb with its help, options and examples.

python tools/cli_page.py docs/cli.md
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge import errors
from edge_difom.cli.main import group

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "edge-difom"
HEAD = f"""# Command line

This page is generated from the command tree by `python tools/cli_page.py docs/cli.md`.

Every command prints what it made and the next command to run. `{PROGRAM} VERB --help` shows the
same text as this page. `--json FILE` writes the result as JSON; `--json -` prints it on stdout and
moves all other text to stderr.

## Exit codes

Each error names the file, what was expected, what was found and what to do about it. The exit code
says which kind of error it was.

| code | meaning |
| --- | --- |
"""


def page(root: click.Group = group) -> str:
    """Render the page as Markdown: exit codes, an overview, then one section for each verb.

    Args:
        root: The program's group.
    """
    parts = [HEAD + "\n".join(f"| {code} | {_cell(text)} |" for code, text in exit_codes().items())]
    context = click.Context(root, info_name=PROGRAM)
    verbs = [(name, _command(root, context, name)) for name in root.list_commands(context)]
    rows = "\n".join(
        f"| [`{PROGRAM} {name}`](#{PROGRAM}-{name}) | {_cell(verb.get_short_help_str(200))} |"
        for name, verb in verbs
    )
    parts.append(f"## Verbs\n\n| verb | purpose |\n| --- | --- |\n{rows}")
    for name, verb in verbs:
        for path, command, inner in _walk(verb, f"{PROGRAM} {name}", context):
            parts.append(_section(path, command, inner))
    return "\n\n".join(parts) + "\n"


def exit_codes() -> dict[int, str]:
    """Return exit code -> meaning, the first docstring line of each error class."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    found = {
        kind.exit_code: f"`{kind.__name__}`: {inspect.getdoc(kind).splitlines()[0]}"
        for kind in kinds
        if kind.__base__ is errors.EdgeDifomError  # a kind of a kind has its exit code
    }
    other = {
        0: "Done.",
        1: "A file or folder could not be read or written.",
        130: "Interrupted from the keyboard.",
    }
    return dict(sorted((found | other).items()))


def _command(parent: click.Group, context: click.Context, name: str) -> click.Command:
    command = parent.get_command(context, name)
    assert command is not None, name
    return command


def _walk(
    command: click.Command, path: str, parent: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _walk(_command(command, context, name), f"{path} {name}", context)


def _section(path: str, command: click.Command, context: click.Context) -> str:
    level = "##" if path.count(" ") == 1 else "###"
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"{level} {path}", _help(command), f"```text\n{usage}\n```"]
    if isinstance(command, click.Group):
        names = command.list_commands(context)
        links = ", ".join(f"[`{name}`](#{path.replace(' ', '-')}-{name})" for name in names)
        parts.append(f"Commands: {links}.")
    rows = [row for parameter in command.params if (row := _option(parameter, context))]
    if rows:
        parts.append("| option | meaning |\n| --- | --- |\n" + "\n".join(rows))
    if command.epilog:
        parts.append(f"```bash\n{_examples(command.epilog)}\n```")
    return "\n\n".join(part for part in parts if part)


def _help(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    paragraphs = [" ".join(part.split()) for part in text.replace("\b\n", "").split("\n\n")]
    return "\n\n".join(
        textwrap.fill(_prose(part), 100, break_on_hyphens=False) for part in paragraphs
    )


def _option(parameter: click.Parameter, context: click.Context) -> str:
    if getattr(parameter, "hidden", False):
        return ""
    record = parameter.get_help_record(context)
    if record is None or not record[1]:
        return ""
    name, text = record
    return f"| `{name.replace('|', chr(92) + '|')}` | {_cell(text)} |"


def _examples(epilog: str) -> str:
    lines = epilog.replace("\b", "").strip().splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() not in ("", "Examples:"))


def _cell(text: str) -> str:
    return _prose(" ".join(text.split())).replace("|", "\\|")


def _prose(text: str) -> str:
    """Convert help text to Markdown; escape everything that looks like markup."""
    quoted = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]])", r"\\\1", part) for part in quoted
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
