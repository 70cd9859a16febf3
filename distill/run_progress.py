"""How far a run is, as `progress.json` in its folder says; read without loading the run.

The file is written by the process that trains. One that was killed leaves `training` behind, which
nobody but the free lock of the folder contradicts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from edge.util.files import locked

if TYPE_CHECKING:
    from pathlib import Path

PROGRESS, LOCK = "progress.json", ".lock"
TRAINING, COMPLETE, STOPPED = "training", "complete", "stopped"


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is.

    Attributes:
        state: `training`, `complete` or `stopped`.
        subject: What is trained, in words.
        reason: Why it stopped.
        epoch: Completed epochs.
        epochs: Epochs that were asked for.
        images_per_second: Speed of the last epoch; None before the first one.
        minutes_left: Estimate from the epochs so far; None before the first one.
        stages: Names of the trainings that the run consists of; empty for one alone.
        best: Figures of the result, if they are not those of an epoch.
    """

    state: str
    subject: str = ""
    reason: str = ""
    epoch: int = 0
    epochs: int = 0
    images_per_second: float | None = None
    minutes_left: float | None = None
    stages: list[str] = []
    best: dict[str, float] | None = None


def read_progress(folder: Path) -> RunProgress | None:
    """Read `progress.json` as it was written; None if it is missing or damaged."""
    try:
        return msgspec.json.decode((folder / PROGRESS).read_bytes(), type=RunProgress)
    except (OSError, msgspec.DecodeError):
        return None


def lock_of(folder: Path) -> Path:
    """Return the file that the process holds which trains in a folder, or quantizes into it."""
    if folder.name.startswith("qat"):
        return folder.with_name(f".{folder.name}.lock")
    return folder / LOCK


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock file; a lock that cannot be tried counts as held."""
    if not lock.is_file():
        return False
    try:
        with locked(lock, wait=False):
            return False
    except OSError:
        return True


def true_progress(folder: Path) -> RunProgress | None:
    """Read the progress of a folder, `stopped` if the process that wrote it is gone."""
    progress = read_progress(folder)
    if progress is None or progress.state != TRAINING or is_locked(lock_of(folder)):
        return progress
    last = time.gmtime((folder / PROGRESS).stat().st_mtime)
    reason = (
        f"the process ended without a word; its last sign is of "
        f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', last)}"
    )
    return msgspec.structs.replace(progress, state=STOPPED, reason=reason, minutes_left=None)


def killed_folders(run: Path) -> list[Path]:
    """Return the folders of a run, its stages and quantizations whose writers were killed."""
    stages = run / "stages"
    folders = [run, *sorted(stages.iterdir() if stages.is_dir() else ()), *sorted(run.glob("qat*"))]
    killed = []
    for folder in folders:
        recorded, true = read_progress(folder), true_progress(folder)
        if recorded is not None and true is not None and recorded.state != true.state:
            killed.append(folder)
    return killed
