"""The embedded default data set: the procedural phantom as a folder like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.run_table import runs_root
from edge.datasets.phantom.render import write_dataset
from edge.util.files import atomic_dir

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, VALIDATION, NEGATIVES, SEED = 240, 40, 20, 7


def phantom_folder() -> Path:
    """Folder of the phantom data set, written once beside the runs."""
    folder = runs_root() / "phantom" / f"{TRAIN}-{VALIDATION}-{NEGATIVES}-seed{SEED}"
    if not folder.is_dir():
        with atomic_dir(folder) as temporary:
            write_dataset(
                temporary, train=TRAIN, validation=VALIDATION, negatives=NEGATIVES, seed=SEED
            )
    return folder
