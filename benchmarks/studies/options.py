"""Command-line options of the studies' programs, and how they report a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

FOLDER = click.Path(path_type=Path)

VAL_SEQUENCES = click.option("--val-sequences", default="", metavar="3,8,13")
SEEDS = click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True)
ASSIGNMENTS = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting that all runs share, such as epochs=20; repeatable.",
)
OUT = click.option("--out", "json_path", metavar="FILE", help="Write the study as JSON.")


def folders(name: str, text: str, *, required: bool = False) -> Callable[..., Any]:
    """Return a repeatable option of folders.

    Args:
        name: Name of the option.
        text: Its help.
        required: Whether one folder must be named.
    """
    return click.option(
        name,
        multiple=True,
        required=required,
        type=FOLDER,
        metavar="DIR",
        help=f"{text}; repeatable.",
    )


def data(*, required: bool = True) -> Callable[..., Any]:
    """Return the option of the folders to train on."""
    return folders("--data", "Folder to train and validate on", required=required)


def left_out(*, required: bool = False) -> Callable[..., Any]:
    """Return the option of the folders that no run sees."""
    text = "Folder that no run sees, such as another hospital's, all of which is scored"
    return folders("--left-out", text, required=required)


def runs(default: str) -> Callable[..., Any]:
    """Return the option of the folder of the runs."""
    return click.option(
        "--runs",
        type=FOLDER,
        default=Path(default),
        show_default=True,
        help="Folder of the runs; finished ones are kept, and a stopped one is resumed.",
    )


def parse_sequences(text: str) -> list[int]:
    """Return the numbers of `VAL_SEQUENCES`."""
    return [int(part) for part in text.split(",") if part]


def absolute(paths: Sequence[Path]) -> list[str]:
    """Return absolute paths, as a configuration takes them."""
    return [str(path.resolve()) for path in paths]


def write_study(study: object, json_path: str | None) -> None:
    """Write a study as JSON if a file is named."""
    if json_path:
        console.write_json(json_path, study)
        console.made(json_path)
