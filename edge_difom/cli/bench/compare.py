"""`edge-difom bench compare`: check whether B is slower than A."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import DataError, LatencyError
from edge_difom.cli import console, options


@click.command(
    "compare",
    short_help="Compare two measurements row by row: is B slower than A?",
    epilog=console.examples(
        "edge-difom bench compare runs/bench/OLD runs/bench/NEW",
        "edge-difom bench compare old.json new.json --margin 0.1 --json comparison.json",
        "edge-difom bench compare matrix-old matrix-new",
    ),
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    type=options.FiniteRange(min=0),
    default=0.05,
    show_default=True,
    help="Minimum difference of a ratio from 1, in addition to its interval.",
)
@click.option("--judge-invalid", is_flag=True, help="Also judge runs that are marked INVALID.")
@console.json_option()
def command(a: Path, b: Path, margin: float, judge_invalid: bool, json_path: str | None) -> None:
    """Pair the rows of A and B, and report the ratio B / A for each.

    A and B are a report.json, a record.jsonl, or a folder that contains such files. Exits with code
    7 if a row of B is slower than in A, and with code 3 if no row can be judged.
    """
    from edge.bench.report.compare import NOT_JUDGED, REGRESSION, compare_runs, load_reports

    report = compare_runs(
        load_reports(a), load_reports(b), margin=margin, judge_invalid=judge_invalid
    )
    console.say(report.verdict)
    for note in report.notes:
        console.say(f"note: {note}")
    rows: list[list[object]] = []
    for pair in report.pairs:
        name = " ".join(part for part in pair.key if part)
        for ratio in pair.ratios:
            low, high = ratio.ci95 or (None, None)
            figures = [ratio.a_ms, ratio.b_ms, ratio.ratio, low, high]
            rows.append([name, ratio.percentile, *figures, ratio.verdict])
    console.table(
        ["row", "", "A, ms", "B, ms", "B over A", "95 % low", "95 % high", "verdict"], rows
    )
    for pair in report.pairs:
        if pair.why:
            console.say(f"{' '.join(part for part in pair.key if part)}: {pair.why}")
    for side, keys in (("A", report.only_a), ("B", report.only_b)):
        for key in keys:
            console.say(f"only in {side}: {' '.join(part for part in key if part)}")
    if json_path:
        console.write_json(json_path, report)
    console.made(*([json_path] if json_path and json_path != "-" else []))
    console.next_command(f"edge-difom bench report {console.quote(b)}")
    if report.verdict == REGRESSION:
        raise LatencyError(
            f"{b} is slower than {a}",
            expected=f"no row slower by more than {margin:.0%} with its interval above 1",
            got=", ".join(
                f"{' '.join(part for part in pair.key if part)} "
                f"{ratio.percentile} x {ratio.ratio:.3f}"
                for pair in report.pairs
                for ratio in pair.ratios
                if ratio.verdict == REGRESSION
            ),
        )
    if report.verdict == NOT_JUDGED:
        raise DataError(
            "no row can be judged",
            expected="valid runs with enough frames on both sides",
            got="; ".join(sorted({pair.why for pair in report.pairs if pair.why}))
            or "too few frames",
            hint="measure again on a quiet machine, or --judge-invalid",
        )
