"""One training at a time in a run folder: a lock on the folder, and names for new folders."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from distill.run_folder import new_run_path
from distill.run_progress import LOCK
from edge.errors import BusyError
from edge.util.files import locked, refuse_existing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def owned_run(
    run: Path | None, name: str, *, resume: bool = False, force: bool = False
) -> Iterator[Path]:
    """Own a run folder while the block runs, so that no other process trains there.

    Args:
        run: The folder, created if missing; None names a new one after the time and `name`.
        name: Name of the student.
        resume: Whether the folder holds a run to continue.
        force: Whether to train again in a folder that is not empty.

    Yields:
        The folder. One that the call created is removed if nothing was written into it.

    Raises:
        UsageError: A folder for a new run is not empty, and `force` is not set.
        BusyError: A different process trains there.
    """
    created = run is None or not run.exists()
    path = _new_folder(name) if run is None else run
    path.mkdir(parents=True, exist_ok=True)
    with sole_trainer(path / LOCK):
        try:
            if not resume:
                refuse_occupied(path, force=force)
            yield path
        finally:
            if [entry.name for entry in path.iterdir()] == [LOCK]:
                (path / LOCK).unlink()
                if created:
                    path.rmdir()


@contextmanager
def sole_trainer(lock: Path) -> Iterator[None]:
    """Hold a lock file of a folder.

    Raises:
        BusyError: A different process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, wait=False))
        except BlockingIOError:
            raise BusyError(
                f"a different process trains in {lock.parent}",
                expected="one training at a time in a folder",
                hint="wait until it ends, or choose a different folder",
            ) from None
        yield


def refuse_occupied(run: Path, *, force: bool) -> None:
    """Refuse a folder that a new run cannot use, before any work is done.

    A folder with nothing but the lock of a process that was killed counts as empty.

    Raises:
        UsageError: The folder is not empty, and `force` is not set.
    """
    if not run.is_dir() or any(entry.name != LOCK for entry in run.iterdir()):
        refuse_existing(run, force=force)


def refuse_busy(run: Path) -> None:
    """Refuse a folder in which a different process trains, before any work is done.

    Raises:
        BusyError: A different process trains there.
    """
    if (run / LOCK).is_file():
        with sole_trainer(run / LOCK):
            pass


def _new_folder(name: str) -> Path:
    base = new_run_path("distill", name)
    base.parent.mkdir(parents=True, exist_ok=True)
    others = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([base], others) if _create(path))


def _create(path: Path) -> bool:
    """Create a folder; False if it exists, such as that of a run that began in the same second."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True
