"""`edge-difom bench`: measure latency, make reports of it, compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_difom.cli import console
from edge_difom.cli.main import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = {
    "run": (
        "edge_difom.cli.bench.run:command",
        "Measure a bundle on this machine (what `bench` does alone).",
    ),
    "report": (
        "edge_difom.cli.bench.report:command",
        "Make the report of a record, also of a run that was killed.",
    ),
    "compare": ("edge_difom.cli.bench.compare:command", "Say whether B is slower than A, row by row."),
    "matrix": ("edge_difom.cli.bench.matrix:command", "Measure bundles x engines x precisions x threads."),
    "device": ("edge_difom.cli.bench.device:command", "Measure what the machine reaches at best."),
    "glass": ("edge_difom.cli.bench.glass:command", "Measure the time from a display to a camera."),
}


class BenchGroup(LazyGroup):
    """A group that measures where options stand in the place of a command."""

    @staticmethod
    def with_default(arguments: Sequence[str]) -> list[str]:
        """Arguments with `run` before options that are not the group's own."""
        own = not arguments or arguments[0] in ("-h", "--help") or not arguments[0].startswith("-")
        return list(arguments) if own else ["run", *arguments]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split what the group takes from what its command takes."""
        return super().parse_args(ctx, self.with_default(args))


@click.group(
    "bench",
    cls=BenchGroup,
    table=TABLE,
    short_help="Measure the latency of a bundle on this machine.",
    epilog=console.examples(
        "edge-difom bench --bundle B --seconds 600 --rate max --rate 60",
        "edge-difom bench report runs/bench/RUN",
        "edge-difom bench compare A B",
    ),
)
def command() -> None:
    """Latency that can be believed: whole frames, 1080p in and regions out, with a guard over the machine.

    Without a command, `bench --bundle B` is `bench run --bundle B`.
    """
