"""`edge-difom bench`: measure latency, report it, compare reports.

In: arguments. Out: records and reports of `edge.bench`, and tables on the console. Imported by the
table of verbs in `edge_difom.cli.main`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_difom.cli import console
from edge_difom.cli.groups import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = {
    "run": (
        "edge_difom.cli.bench.run:command",
        "Measure a bundle on this machine (the default command).",
    ),
    "report": (
        "edge_difom.cli.bench.report:command",
        "Make the report of a record, even of a run that was killed.",
    ),
    "compare": (
        "edge_difom.cli.bench.compare:command",
        "Compare two measurements row by row: is B slower than A?",
    ),
    "matrix": (
        "edge_difom.cli.bench.matrix:command",
        "Measure bundles x engines x precisions x threads.",
    ),
    "device": (
        "edge_difom.cli.bench.device:command",
        "Measure the peak performance of this machine.",
    ),
    "glass": (
        "edge_difom.cli.bench.glass:command",
        "Measure the delay from a display to a camera.",
    ),
    "colors": (
        "edge_difom.cli.bench.colors:command",
        "Check a camera's colors against a test card.",
    ),
}


DEFAULT = "run"
"""The command of `edge-difom bench --bundle B`."""


class BenchGroup(LazyGroup):
    """A group with a default command, whose options its help shows."""

    @staticmethod
    def with_default(arguments: Sequence[str]) -> list[str]:
        """Arguments with the default command before options that are not the group's own."""
        own = not arguments or arguments[0] in ("-h", "--help") or not arguments[0].startswith("-")
        return list(arguments) if own else [DEFAULT, *arguments]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, with the default command if none is named."""
        return super().parse_args(ctx, self.with_default(args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, then the options of the default one."""
        super().format_commands(ctx, formatter)
        command = self.get_command(ctx, DEFAULT)
        assert command is not None
        inner = click.Context(command, info_name=DEFAULT, parent=ctx)
        records = [
            record for p in command.get_params(inner) if (record := p.get_help_record(inner))
        ]
        with formatter.section(f"Options of the default command, {DEFAULT}"):
            formatter.write_dl(records)


@click.group(
    "bench",
    cls=BenchGroup,
    table=TABLE,
    short_help="Measure a bundle's latency on this machine.",
    epilog=console.examples(
        "edge-difom bench --bundle B --seconds 600 --rate max --rate 60",
        "edge-difom bench report runs/bench/RUN",
        "edge-difom bench compare A B",
    ),
)
def command() -> None:
    """Trustworthy latency: full frames in, regions out.

    Runs on a disturbed machine are marked INVALID. `bench --bundle B` is `bench run --bundle B`.
    """
