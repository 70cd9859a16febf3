"""Chooses the bundle that the worker process runs, and survives a store that raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.contracts import BundleStore


class SingleBundle:
    """A store of exactly one bundle, which the caller names."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path

    def current(self) -> Path | None:
        """Return the bundle, None after it was marked bad."""
        return self._path

    def previous(self) -> Path | None:
        """Return None: there is no previous bundle."""
        return None

    def mark_bad(self, path: Path, reason: str) -> None:  # noqa: ARG002 - nothing is recorded
        """Never return the bundle again."""
        self._path = None

    def mark_good(self, path: Path) -> None:
        """Do nothing: a single bundle needs no record."""


class UsableBundles:
    """The bundles of a store that may still run, as long as this object lives.

    Args:
        store: The store; it may raise any error, such as on a full or failing disk.
        tell: Called with a description of each error, for the journal.
    """

    def __init__(self, store: BundleStore, tell: Callable[[str], None]) -> None:
        self._store, self._tell = store, tell
        self._unusable: set[Path] = set()

    def choose(self) -> Path | None:
        """Return the bundle to run, None if none is left."""
        for ask in (self._store.current, self._store.previous):
            try:
                path = ask()
            except Exception as error:  # noqa: BLE001 - no error of a store may stop the student
                self._tell(f"the store cannot be read: {error}")
                continue
            if path is not None and path not in self._unusable:
                return path
        return None

    def pass_over(self, path: Path) -> None:
        """Skip a bundle until the next start of the device."""
        self._unusable.add(path)

    def condemn(self, path: Path, reason: str) -> None:
        """Mark a bundle bad, so that it is never used again."""
        self._unusable.add(path)
        self._try(lambda: self._store.mark_bad(path, reason))

    def prove(self, path: Path) -> bool:
        """Mark a bundle good; return whether the store could record it."""
        return self._try(lambda: self._store.mark_good(path))

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(f"the store cannot be written: {error}")
            return False
        return True
