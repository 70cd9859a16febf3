"""`python -m benchmarks [NAME...]`: run comparisons and write their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from benchmarks.registry import ASKED_FOR, BENCHMARKS, named, run_benchmark
from benchmarks.results_page import write
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from benchmarks.record import Record


@click.command(
    epilog=console.examples(
        "python -m benchmarks",
        "python -m benchmarks frame help --rounds 50",
        "python -m benchmarks int8-unet --out int8.json",
        "python -m benchmarks decoders --rounds 30 --out decoders.json",
        "python -m benchmarks table",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--out", "json_path", metavar="FILE", help="Write the records as JSON.")
@click.option(
    "--rounds",
    type=click.IntRange(min=2),
    default=30,
    show_default=True,
    help="Measurements of each side.",
)
@click.option("--list", "only_list", is_flag=True, help="List the comparisons and stop.")
def command(names: tuple[str, ...], json_path: str | None, rounds: int, only_list: bool) -> None:
    """Run comparisons: each is timed only after its correctness check has passed.

    The sides of a comparison are measured in turn, so that the ratio holds on a machine that
    drifts; the name `decoders` stands for all comparisons of decoders, whose engines run in turn in
    one process. The name `table` measures nothing: it writes docs/results.md and the README's table
    from the records in benchmarks/results.
    """
    if only_list:
        console.table(["name", "what"], [[name, what] for name, (_, what) in BENCHMARKS.items()])
        return
    if names == ("table",):
        console.made(*write())
        return
    chosen = named(names) or tuple(name for name in BENCHMARKS if name not in ASKED_FOR)
    records = []
    for number, name in enumerate(chosen, 1):
        console.step(number, len(chosen), name)
        records.append(run_benchmark(name, rounds=rounds))
        _show(records[-1])
    if json_path:
        console.write_json(json_path, records)
        console.made(json_path)


def _show(record: Record) -> None:
    comparison = record.comparison
    console.say(f"{record.name}: {record.what}")
    console.say("VALID" if record.valid else f"INVALID: {record.reason}")
    console.say(f"check: {comparison.check}")
    rows = [
        [side.what, side.median, len(side.samples)] for side in (comparison.left, comparison.right)
    ]
    console.table(["side", f"median {comparison.unit}", "samples"], rows)
    low, high = comparison.ratio_ci95
    console.say(f"ratio: {comparison.ratio:.3g} (95 % interval {low:.3g} to {high:.3g})")
    if goal := comparison.goal:
        word = "at least" if goal.at_least else "at most"
        verdict = "reached" if goal.reached else "missed"
        console.say(f"goal: {goal.what} {word} {goal.bound:g}: {goal.value:.3g}, {verdict}")
    console.say()


if __name__ == "__main__":
    run_program(command)
