"""Frames that a run's teachers have learned from, none of which may validate the run.

A validation frame that a teacher was trained on comes back as its map or its logits, and the
validation flatters the student.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from distill.config import make_config, read_config_file
from distill.data.digests import file_digests
from distill.data.split_record import SplitRecord
from edge.errors import DataError
from edge.util.spec import expand, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distill.config import DistillConfig
    from distill.data.splits import Splits

logger = logging.getLogger(__name__)

TRAINED_HERE = ("run", "fitted")
"""Schemes of teachers whose folders say what they were trained on."""
_CONFIGS = ("resolved.yaml", "fit.yaml")
_MAX_NAMES = 3
"""Number of files that an error names."""


def refuse_seen_validation(specs: Iterable[str], splits: Splits) -> None:
    """Refuse teachers that were trained on a frame that validates here.

    Compared are the contents of the pictures, not their names. A teacher counts with everything
    that taught it: its own teachers, and the run that it started from.

    Args:
        specs: Teachers of maps and of logits.
        splits: Split of the run.

    Raises:
        DataError: A validation frame is one that a teacher has learned from.
    """
    trained_here = [spec for spec in specs if parse(spec).scheme in TRAINED_HERE]
    if not trained_here:
        return
    held_out = [*splits.validation, *splits.clean_validation]
    files = file_digests(held_out)
    frames = {files[sample.image]: sample.image for sample in held_out}
    for spec in trained_here:
        both = sorted(frames[digest] for digest in frames.keys() & learned_frames(spec))
        if both:
            raise DataError(
                f"teacher {spec} has learned from frames that validate here",
                expected="validation frames that no teacher was trained on",
                got=f"{len(both)} of {len(held_out)} validation frames: "
                + ", ".join(both[:_MAX_NAMES])
                + (", ..." if len(both) > _MAX_NAMES else ""),
                hint="train the teacher on the same data with the same val_sequences, val_fraction "
                "and split_seed, or validate on other frames",
            )


def learned_frames(spec: str) -> set[str]:
    """SHA-256 of every picture that a teacher, or what taught it, was trained on.

    A folder that says nothing of its frames gives a warning and none.

    Args:
        spec: `run:RUN` or `fitted:DIR`; other teachers give none.
    """
    frames: set[str] = set()
    open_specs, done = [spec], set()
    while open_specs:
        parsed = parse(open_specs.pop())
        folder = expand(parsed.target).resolve()
        if parsed.scheme not in TRAINED_HERE or folder in done:
            continue
        done.add(folder)
        frames |= _own_frames(folder)
        open_specs += _teachers_of(folder)
    return frames


def _own_frames(folder: Path) -> set[str]:
    try:
        record = msgspec.json.decode((folder / "splits.json").read_bytes(), type=SplitRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if record is None or not record.files:
        logger.warning(
            "%s does not say which frames it was trained on, so that they may validate here", folder
        )
        return set()
    held_out = {sample.image for sample in [*record.validation, *record.clean_validation]}
    learned = {sample.image for sample in record.samples()} - held_out
    return {record.files[image] for image in learned if image in record.files}


def _teachers_of(folder: Path) -> list[str]:
    """Teachers of a run or of a fit, of all its stages, and the run that it started from."""
    path = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if path is None:
        return []
    config = make_config(read_config_file(path))
    stages: Sequence[DistillConfig] = [
        config.changed(**{"stages": [], **stage.settings}) for stage in config.run.stages
    ]
    sources = []
    for trained in (config, *stages):
        sources += trained.all_teachers
        if trained.student.start and Path(trained.student.start).is_dir():
            sources.append(f"run:{trained.student.start}")
    return sources
