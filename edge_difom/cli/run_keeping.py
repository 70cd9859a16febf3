"""Options of `edge-difom run` about what is kept: stills, marks and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_difom.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


_OPTIONS = (
    click.option(
        "--stills",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Save the frame and its mask, black outside the field of view, whenever the cart's "
        "pedal is pressed or SIGUSR1 arrives. The files contain patient images.",
    ),
    click.option(
        "--marks",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Let people mark false alarms and missed polyps, by the cart's pedal 2, SIGUSR2 or "
        "the page of --view, and save those frames for `edge-difom review`. The files contain "
        "patient images.",
    ),
    click.option(
        "--marks-days",
        type=options.FiniteRange(min=0, min_open=True),
        default=30,
        show_default=True,
        help="Remove marks that are older than this many days.",
    ),
    click.option(
        "--record",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Record the session for `edge-difom review`: video in segments, black outside the "
        "field of view and out of the body, what was found beside it, and a clip around each "
        "finding and mark. The files contain patient images.",
    ),
    click.option(
        "--record-days",
        type=options.FiniteRange(min=0, min_open=True),
        default=7,
        show_default=True,
        help="Remove recordings that are older than this many days.",
    ),
    click.option(
        "--record-gb",
        type=options.FiniteRange(min=0, min_open=True),
        default=20,
        show_default=True,
        help="Remove the oldest segments, then clips, when all recordings exceed this size.",
    ),
    click.option(
        "--pseudonym",
        default="",
        metavar="P",
        help="Pseudonym of the examination, such as study-7, never a name: recordings bear it, "
        "and runs of one pseudonym share a DICOM study. Default: a random one.",
    ),
)


def keep_options(command: F) -> F:
    """Add the options to a command, which gets them as of `edge.pipeline.keeping.KeepOptions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
