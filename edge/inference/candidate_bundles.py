"""Chooses the bundle that the worker process runs, and survives a store that raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.contracts import BundleStore


class SingleBundle:
    """A store of one bundle: what `--bundle` names."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path

    def current(self) -> Path | None:
        """The bundle, until it is marked bad."""
        return self._path

    def previous(self) -> Path | None:
        """None."""
        return None

    def mark_bad(self, path: Path, reason: str) -> None:  # noqa: ARG002 - nothing is recorded
        """Never use it again."""
        self._path = None

    def mark_good(self, path: Path) -> None:
        """Nothing to remember."""


class UsableBundles:
    """The bundles of a store that may still be run since this was made.

    Args:
        store: May raise anything, on a disk that is full or fails.
        tell: Takes what it raised, for the journal.
    """

    def __init__(self, store: BundleStore, tell: Callable[[str], None]) -> None:
        self._store, self._tell = store, tell
        self._unusable: set[Path] = set()

    def choose(self) -> Path | None:
        """The bundle to run, None where none is left."""
        for ask in (self._store.current, self._store.previous):
            try:
                path = ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, the student is not to end with it
                self._tell(f"the store cannot be read: {error}")
                continue
            if path is not None and path not in self._unusable:
                return path
        return None

    def pass_over(self, path: Path) -> None:
        """Leave a bundle alone until the next start of the device."""
        self._unusable.add(path)

    def condemn(self, path: Path, reason: str) -> None:
        """Never use a bundle again."""
        self._unusable.add(path)
        self._try(lambda: self._store.mark_bad(path, reason))

    def prove(self, path: Path) -> bool:
        """The bundle ran cleanly for a while; whether that could be noted."""
        return self._try(lambda: self._store.mark_good(path))

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(f"the store cannot be written: {error}")
            return False
        return True
