"""`edge-difom runs`: a table of the runs in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console

COLUMNS = (
    "run",
    "student",
    "recipe",
    "size",
    "epochs",
    "of",
    "state",
    "best",
    "dice",
    "flagged",
    "int8",
    "gate",
    "seed",
    "seconds",
    "changed",
    "data",
)
"""Columns of the table, by which it can be sorted."""

DESCENDING = ("dice", "int8", "changed", "epochs", "best")
"""Columns of which the largest value comes first."""


@click.command(
    "runs",
    short_help="List the runs of a folder.",
    epilog=console.examples(
        "edge-difom runs",
        "edge-difom runs RUNS --sort dice",
        "edge-difom runs RUNS --sort seconds --reverse",
        "edge-difom runs RUNS --json -",
    ),
)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--sort",
    type=click.Choice(COLUMNS),
    default="changed",
    show_default=True,
    help="Column to sort by. dice, int8, changed, epochs and best begin with the largest value.",
)
@click.option("--reverse", is_flag=True, help="Sort in the opposite order.")
@console.json_option()
def command(folder: Path | None, sort: str, reverse: bool, json_path: str | None) -> None:
    """List the runs below DIR with their figures. Default: EDGE_DIFOM_RUNS, otherwise ./runs.

    Nothing is loaded, so runs that are still trained are listed, too. The page of a run whose
    process was killed is written again: it says `stopped`, and when it was last heard of.
    """
    from distill.run_table import read_runs, runs_root, sort_runs

    root = runs_root() if folder is None else folder
    run_rows = read_runs(root)
    for row in run_rows:
        _mark_killed(
            root if len(run_rows) == 1 and not (root / row.run).is_dir() else root / row.run
        )
    rows = sort_runs(run_rows, sort, reverse=(sort in DESCENDING) != reverse)
    console.table(COLUMNS, [[getattr(row, column) for column in COLUMNS] for row in rows])
    if json_path:
        console.write_json(json_path, rows)
        if json_path != "-":
            console.made(json_path)
    if len(rows) > 1:
        first, second = (console.quote(root / row.run) for row in rows[:2])
        console.next_command(f"edge-difom compare {second} {first}")


def _mark_killed(run: Path) -> None:
    """Write the pages of a run again whose writers were killed; a page is no reason to fail."""
    from distill.run_progress import killed_folders

    for folder in killed_folders(run):
        from distill.train.run_page import mark_stopped
        from edge.errors import EdgeDifomError

        try:
            mark_stopped(folder)
        except (OSError, EdgeDifomError) as error:
            console.warn(f"the page of {folder} still says training: {error}")
