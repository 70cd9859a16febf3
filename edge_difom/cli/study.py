"""`edge-difom study`: train and evaluate the cells of a published table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import UsageError
from edge_difom.cli import console
from edge_difom.cli.groups import LazyGroup

if TYPE_CHECKING:
    from distill.paper_study.costs import Forecast


class NameSeries(click.ParamType[list[str]]):
    """NameSeries, separated by commas."""

    name = "NAME,NAME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Parse `unet,unetpp`."""
        names = [part.strip() for part in str(value).split(",")]
        if not all(names):
            self.fail(f"{value!r} is not a list of names", param, ctx)
        return names


class NumberSeries(click.ParamType[list[int]]):
    """NumberSeries from 0, separated by commas."""

    name = "N,N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Parse `0,2,3,4`."""
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            self.fail(f"{value!r} is not a list of numbers such as 0,2,3,4", param, ctx)
        return [int(part) for part in parts]


@click.group(
    "study",
    cls=LazyGroup,
    table={},
    short_help="Train and evaluate the cells of a published table.",
    epilog=console.examples(
        "edge-difom study paper --data TRAIN --test TestDataset --dry-run",
        "edge-difom study paper --data TRAIN --test TestDataset --out STUDY",
        "edge-difom study paper --data TRAIN --test TestDataset --random-teachers --set epochs=1",
    ),
)
def group() -> None:
    """Train and evaluate the cells of a published table."""


@group.command(
    "paper",
    short_help="The table of Polyp-DiFoM: students by numbers of foundation models.",
    epilog=console.examples(
        "edge-difom study paper --data TRAIN --test TestDataset --dry-run",
        "edge-difom study paper --data TRAIN --test TestDataset --students unet,unetpp,pranet,"
        "emcad --foundations 0,2,3,4 --out STUDY",
        "edge-difom study paper --data TRAIN --test DIR --students edge-s --foundations 0,1 "
        "--teacher efficientnet_lite2 --set size=256 --set epochs=20 --out STUDY",
    ),
)
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to train and validate on; repeatable.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    required=True,
    metavar="[SET:]DIR",
    help="TestDataset or a folder with the folders of the field's test sets, of which those that "
    "are there are used; a folder of one set (kvasir:DIR and the like); or any folder with images/ "
    "and masks/. Repeatable.",
)
@click.option(
    "--students",
    type=NameSeries(),
    default="unet,unetpp,pranet,emcad",
    show_default=True,
    help="Students; emcad is its decoder on the encoder of edge-s. A student of `distill --student`"
    ", or one with a decoder such as edge-s+pld, will do too.",
)
@click.option(
    "--foundations",
    type=NumberSeries(),
    default="0,2,3,4",
    show_default=True,
    help="NumberSeries of teachers; 0 trains on the task alone.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    help="Teachers in the order in which they are added, as in `distill`; repeatable. Default: "
    "sam, dinov2, oneformer, mask2former.",
)
@click.option(
    "--random-teachers",
    is_flag=True,
    help="Use tiny networks with random weights as teachers, to see that all cells run. Such cells "
    'are marked "no result".',
)
@click.option("--seeds", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of `distill --help-config` that all runs share. Defaults: size=352, epochs=75, "
    "batch_size=6, lr=0.0001. Repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the study; one that holds this study is continued. Default: a folder of "
    "$EDGE_DIFOM_RUNS or ./runs.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print hours and disk of what is missing, and train nothing."
)
def paper(
    data: tuple[Path, ...],
    tests: tuple[str, ...],
    students: list[str],
    foundations: list[int],
    teachers: tuple[str, ...],
    random_teachers: bool,
    seeds: int,
    assignments: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
) -> None:
    """Train every student with every number of teachers, and evaluate all by both protocols.

    The same command continues a stopped study. The table is written beside the published figures.
    """
    import msgspec

    from distill.config import parse_assignments
    from distill.paper_study.cells import FOUNDATIONS, RANDOM_MARK, PaperStudy
    from distill.paper_study.costs import forecast
    from distill.paper_study.run import RECORD, run_paper_study
    from distill.paper_study.table import study_markdown, table_rows
    from distill.run_table import runs_root
    from edge.datasets.public_sets import find_test_sets
    from edge.util.files import atomic_write
    from edge_difom.runtime_env import keep_freed_memory

    keep_freed_memory()
    folder = out or runs_root() / "study-paper"
    if teachers and random_teachers:
        raise UsageError("--random-teachers replaces --teacher", expected="one of the two")
    chosen = list(teachers or FOUNDATIONS)
    if random_teachers:
        from distill.teachers.random_networks import write_random

        home = folder.resolve() / "random-teachers"
        chosen = [write_random(name, home / name, RANDOM_MARK) for name in FOUNDATIONS]
    try:
        study = msgspec.convert(
            {
                "data": [str(path.resolve()) for path in data],
                "students": students,
                "foundations": foundations,
                "teachers": chosen,
                "seeds": seeds,
                "settings": parse_assignments(assignments),
            },
            PaperStudy,
        )
    except msgspec.ValidationError as error:
        raise UsageError(f"the study: {error}") from None
    sets = find_test_sets(tests)
    if dry_run:
        _show_forecast(forecast(study, sets, folder))
        return
    record = run_paper_study(study, sets, folder, announce=console.step, report=console.progress)
    table = folder / "table.md"
    atomic_write(table, study_markdown(record))
    console.table(*table_rows(record))
    console.made(folder / RECORD, table)


def _show_forecast(costs: Forecast) -> None:
    console.table(
        ["student", "cells", "s per step", "training h", "evaluation h", "GB"],
        [
            [row.student, row.cells, row.step_s, row.train_h, row.evaluate_h, row.bytes / 1e9]
            for row in costs.students
        ],
    )
    if costs.teachers:
        console.table(
            ["teacher", "frames to see", "h", "GB", "from"],
            [
                [
                    row.teacher,
                    row.frames,
                    row.hours,
                    row.bytes / 1e9,
                    "measured here" if row.measured else "published size; not on this machine",
                ]
                for row in costs.teachers
            ],
        )
    console.say(
        f"about {costs.hours:.3g} h and {costs.bytes / 1e9:.3g} GB on this machine; "
        f"{costs.free_bytes / 1e9:.3g} GB are free"
    )
