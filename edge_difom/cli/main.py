"""The command line: a table of verbs whose code is imported when the verb is called."""

from __future__ import annotations

import difflib
import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from edge import __version__
from edge.errors import EdgeDifomError, UsageError
from edge.util.extras import missing, resolve
from edge_difom.cli import console
from edge_difom.runtime_env import configure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["VERBS", "LazyGroup", "main", "resolve"]

VERBS = {
    "demo": ("edge_difom.cli.demo:command", "Run the whole path on the built-in phantom."),
    "phantom": ("edge_difom.cli.phantom:command", "Write the procedural colonoscopy phantom as a data set."),
    "distill": ("edge_difom.cli.distill:distill", "Train a student from teachers and masks."),
    "label": ("edge_difom.cli.label:label", "Give frames that nobody labelled the masks of an ensemble."),
    "evaluate": ("edge_difom.cli.evaluate:command", "Dice and IoU of a bundle or a run on labelled images."),
    "qat": ("edge_difom.cli.qat:qat", "Fine-tune a student to INT8 and export its engines."),
    "export": ("edge_difom.cli.qat:export", "Export the engines of a quantized run."),
    "bundle": ("edge_difom.cli.bundle:group", "Make, show, pack, sign and publish bundles."),
    "verify": ("edge_difom.cli.verify:command", "Check a bundle's hashes and golden frames."),
    "run": ("edge_difom.cli.run:command", "Segment a camera, a clip or images with a bundle."),
    "bench": ("edge_difom.cli.bench:command", "Measure the latency of a bundle on this machine."),
    "doctor": ("edge_difom.cli.doctor:command", "Tell what this machine can do and what is missing."),
    "device": ("edge_difom.cli.device:group", "Prepare and check a cart computer."),
}
"""Verb -> (reference of its click command, short help)."""


class LazyGroup(click.Group):
    """A click group whose commands are references, imported only when they are called.

    Args:
        table: Verb -> (`"module:attribute"`, short help), in the order of the help.
        **attributes: What `click.Group` takes.
    """

    def __init__(self, *, table: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs of the table, then commands that were added directly."""
        return [*self.table, *(name for name in super().list_commands(ctx) if name not in self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, imported now.

        Raises:
            MissingDependencyError: Its package needs an extra that is not installed.
        """
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        command = resolve(self.table[cmd_name][0])
        assert isinstance(command, click.Command), f"{self.table[cmd_name][0]} is no click command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, and name the legal ones where it is unknown.

        Raises:
            UsageError: There is no such verb.
        """
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], names, n=1)
            raise UsageError(
                f"no command {args[0]!r}",
                expected=", ".join(names),
                hint=f"{ctx.command_path} {near[0]} --help" if near else f"{ctx.command_path} --help",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by the table's short helps, without importing any."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self.table:
                rows.append((name, self.table[name][1]))
            elif command := super().get_command(ctx, name):
                rows.append((name, command.get_short_help_str(limit=90)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    table=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Research use only, not a medical device. Each command's --help has examples to copy.",
)
@click.version_option(__version__, prog_name="edge-difom")
def group() -> None:
    """Distil foundation models into INT8 polyp segmentation students, prove them equal in two runtimes, run them."""


LIBRARIES = ("edge", "distill", "quantize", "firmware_bridge")
"""Packages whose log records the command line prints."""


class _ConsoleHandler(logging.Handler):
    """Prints what the libraries log: warnings as warnings, the rest as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        show = console.warn if record.levelno >= logging.WARNING else console.say
        show(record.getMessage())


def show_logs() -> None:
    """Print the libraries' log records from now on; calling it again changes nothing."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
            logger.addHandler(_ConsoleHandler(logging.INFO))
        logger.setLevel(logging.INFO)
        logger.propagate = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code.

    Args:
        arguments: What follows the program's name; `sys.argv` by default.
    """
    configure()
    show_logs()
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        result = group.main(args=arguments, prog_name="edge-difom", standalone_mode=False)
    except EdgeDifomError as error:
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130, label="")
    except ModuleNotFoundError as error:
        named = missing(error)
        if named is None:
            raise
        return _fail(str(named), named.exit_code)
    except OSError as error:
        if not error.filename:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 1)
    # Outside its own standalone mode click hands back the code of `ctx.exit`.
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _fail(text: str, code: int, *, label: str = "error: ") -> int:
    click.echo(f"{label}{text}", err=True)
    return code
