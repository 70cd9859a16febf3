"""`edge-difom compare`: two runs or two evaluations, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import AccuracyError
from edge_difom.cli import console

if TYPE_CHECKING:
    from edge.evaluation.compare import Comparison
    from edge.evaluation.metrics import EvaluationReport


@click.command(
    "compare",
    short_help="Compare two runs or two evaluations image by image.",
    epilog=console.examples(
        "edge-difom compare RUN1 RUN2",
        "edge-difom compare old.json new.json",
        "edge-difom compare old.json new.json --json difference.json",
    ),
)
@click.argument("left", metavar="A", type=click.Path(path_type=Path))
@click.argument("right", metavar="B", type=click.Path(path_type=Path))
@console.json_option()
def command(left: Path, right: Path, json_path: str | None) -> None:
    """Compare B with A on the images that both have, and exit with code 6 if B is worse.

    A and B are JSON records of `edge-difom evaluate`, or folders of runs, whose best FP32 students
    are evaluated on their own validation frames first. A figure is better or worse if the bootstrap
    95 % interval of the difference per image excludes zero. The same command is `edge-difom
    evaluate compare A B`.
    """
    from edge.evaluation.compare import compare_evaluations

    comparison = compare_evaluations(_evaluation(left), _evaluation(right))
    _show(comparison, left, right)
    if json_path:
        console.write_json(json_path, comparison)
        if json_path != "-":
            console.made(json_path)
    if comparison.verdict == "worse":
        worse = [figure for figure in comparison.figures if figure.verdict == "worse"]
        raise AccuracyError(
            f"{right} is worse than {left}",
            expected="no difference whose whole 95 % interval is a loss",
            got="; ".join(
                f"{figure.name} {figure.difference:+.4f} ({figure.ci95[0]:+.4f} to "
                f"{figure.ci95[1]:+.4f})"
                for figure in worse
            ),
        )


def _evaluation(path: Path) -> EvaluationReport:
    """Read a record, or evaluate a run on its validation frames."""
    if not path.is_dir():
        from edge.evaluation.evaluator import read_evaluation

        return read_evaluation(path)
    from distill.train.evaluation import evaluate_run
    from edge.evaluation.run_splits import read_clean_splits, read_splits

    pairs = read_splits(path / "splits.json")
    clean = read_clean_splits(path / "splits.json")
    with console.progress(len(pairs) + len(clean), f"images of {path.name}") as bar:
        return evaluate_run(path, pairs, clean=clean, done=lambda name: bar.update(1, name))


def _show(comparison: Comparison, left: Path, right: Path) -> None:
    console.table(
        ["figure", "images", "A", "B", "B - A", "95 % low", "high", "B is"],
        [
            [
                figure.name,
                figure.n,
                figure.left,
                figure.right,
                figure.difference,
                *figure.ci95,
                figure.verdict,
            ]
            for figure in comparison.figures
        ],
    )
    if comparison.worst:
        console.table(
            ["images that lost most", "Dice of A", "Dice of B"],
            [[change.name, change.left, change.right] for change in comparison.worst],
        )
    for path, only in ((left, comparison.only_left), (right, comparison.only_right)):
        if only:
            console.say(f"{only} images are only in {path} and were left out")
    for note in comparison.notes:
        console.warn(note)
    console.say(f"verdict: {comparison.verdict}")
