"""Chooses the bundle that the worker process runs, and survives a store that raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.util.machine_fault import machine_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.contracts import BundleStore
    from edge.util.machine_fault import MachineFault


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

    def fallback(self) -> Path | None:
        """Return None: the caller wants this bundle or an error."""
        return None

    def digest(self, path: Path) -> str | None:  # noqa: ARG002 - it is not signed
        """Return None: the caller vouches for the bundle."""
        return None

    def trouble(self) -> str:
        """Return nothing: there is nothing to record."""
        return ""

    def mark_bad(self, path: Path, reason: str) -> None:  # noqa: ARG002 - nothing is recorded
        """Never return the bundle again."""
        self._path = None

    def mark_good(self, path: Path) -> None:
        """Do nothing: a single bundle needs no record."""

    def refund(self, path: Path) -> None:
        """Do nothing: no start is counted."""


class UsableBundles:
    """The bundles of a store that may still run, as long as this object lives.

    Args:
        store: The store; it may raise any error, such as on a full or failing disk.
        report: Called with a description of each error, for the journal.
        fallback: Whether the store's last resort may run.

    Attributes:
        fault: The machine's fault that kept the store from answering `choose`; None without one.
        fallen_back: Whether the last `choose` returned the store's last resort.
    """

    def __init__(
        self, store: BundleStore, report: Callable[[str], None], *, fallback: bool = True
    ) -> None:
        self._store, self._report, self._fallback = store, report, fallback
        self._unusable: set[Path] = set()
        self._deferred: set[Path] = set()
        self.fault: MachineFault | None = None
        self.fallen_back = False

    def choose(self, *, lasting: bool = False) -> Path | None:
        """Return the bundle to run; None if none is left, or if the store is to be asked again.

        Args:
            lasting: Whether faults of the machine last so long that a store which cannot be read
                is passed over, and its last resort is used.
        """
        self._begin()
        for ask in (self._store.current, self._store.previous):
            if (path := self._ask_store(ask)) is not None:
                return path
        waiting = bool(self._deferred - self._unusable)
        if self._fallback and (lasting or not (self.fault or waiting)):
            path = self._ask_store(self._store.fallback)
            if path is not None:
                self.fallen_back = True
                return path
        if waiting and self.fault is None:
            self._deferred.clear()
            return self.choose(lasting=lasting)
        return None

    def digest(self, path: Path) -> str | None:
        """Return the SHA-256 that the bundle's manifest must have; None if any will do."""
        return self._store.digest(path)

    def trouble(self) -> str:
        """Return why the store cannot record what happens; empty if it can."""
        return self._store.trouble()

    def pass_over(self, path: Path) -> None:
        """Skip a bundle until the next start of the device; this one does not count against it."""
        self._unusable.add(path)
        self.refund(path)

    def defer(self, path: Path) -> None:
        """Skip a bundle until no other one is left; this start does not count against it."""
        self._deferred.add(path)
        self.refund(path)

    def condemn(self, path: Path, reason: str) -> None:
        """Mark a bundle bad, so that it is never used again."""
        self._unusable.add(path)
        self._change_store(lambda: self._store.mark_bad(path, reason))

    def prove(self, path: Path) -> bool:
        """Mark a bundle good; return whether the store could record it."""
        return self._change_store(lambda: self._store.mark_good(path))

    def refund(self, path: Path) -> None:
        """Record that this start does not count against the bundle."""
        self._change_store(lambda: self._store.refund(path))

    def _begin(self) -> None:
        self.fault, self.fallen_back = None, False

    def _ask_store(self, ask: Callable[[], Path | None]) -> Path | None:
        """Return the store's answer unless that bundle is not to run now."""
        try:
            path = ask()
        except Exception as error:  # noqa: BLE001 - no error of a store may stop the student
            self._report(f"the store cannot be read: {error}")
            self.fault = self.fault or machine_fault(error)
            return None
        return None if path in self._unusable | self._deferred else path

    def _change_store(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - as above
            self._report(f"the store cannot be written: {error}")
            return False
        return True
