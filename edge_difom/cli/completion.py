"""`edge-difom completion`: shell completion, by click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edge_difom.cli import console

PROGRAM, VARIABLE = "edge-difom", "_EDGE_DIFOM_COMPLETE"


@click.command(
    "completion",
    short_help="Print a shell completion script.",
    epilog=console.examples(
        "edge-difom completion bash",
        "edge-difom completion zsh",
        "edge-difom completion fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script that completes verbs and options in SHELL.

    Append the output to ~/.bashrc or ~/.zshrc, or write it to
    ~/.config/fish/completions/edge-difom.fish. The script asks `edge-difom` itself for the
    completions, so it never goes out of date.
    """
    from edge_difom.cli.main import group

    completion = get_completion_class(shell)
    assert completion is not None, shell
    # Click's script for bash first checks the version of the bash that is installed.
    click.echo(completion(group, {}, PROGRAM, VARIABLE).source())
