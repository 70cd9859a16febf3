"""The runtime's view of the slots: the bundle to use at this start, and its outcome.

The start of a trial is counted on disk before the bundle is returned, so that a bundle that crashes
the machine cannot do so forever. A read-only disk is not an error: if a trial cannot be recorded,
it does not start.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import BundleError, BusyError, UsageError
from edge.util.files import locked, sha256
from firmware_bridge import durable
from firmware_bridge.fleet.slots import audit, state
from firmware_bridge.fleet.slots.audit import AuditLog, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from edge.contracts import BundleStore
    from firmware_bridge.fleet.slots.audit_chain import Value
    from firmware_bridge.fleet.slots.state import Held, State

DEFAULT_STATE = Path("/var/lib/edge-difom")
LOCK, INSTALLING = "lock", "installing"


class SlotStore:
    """The two slots of a state folder, for one start of the runtime (`edge.contracts.BundleStore`).

    The first `current` selects the bundle and counts a start if it is on trial; later calls return
    the same bundle until `mark_bad`.

    Args:
        folder: State folder.
        now: Wall clock of the audit log.
    """

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self.audit = AuditLog(folder, now=now)
        self._decided = False
        self._current: Path | None = None
        self._refused: set[Path] = set()

    def current(self) -> Path | None:
        """Return the bundle of this start after a hash check; None if no slot has a usable one."""
        if not self._decided:
            self._current, self._decided = self._start(), True
        return self._current

    def previous(self) -> Path | None:
        """Return the other slot's bundle if it is good and its hash matches."""
        now = self._read()
        for slot in (now.active, now.fallback(now.active) if now.active else None):
            path = self._path(now, slot)
            if slot and path and path != self._current and self._usable(now.slots[slot], path):
                return path
        return None

    def mark_bad(self, path: Path, reason: str) -> None:
        """Never use this bundle again; `current` then returns what `previous` returned.

        Args:
            path: Path from `current`; if the bundle is gone, only the log records it.
            reason: Reason for the log.
        """
        self._refused.add(path)
        with suppress(OSError, BundleError), self._changing() as now:
            slot = self._slot(now, path)
            if slot is None:
                self._tell("bad-unknown", file=path.name, reason=reason)
            else:
                state.save(self.folder, now.emptied(slot, bad=reason))
                self._tell("marked-bad", slot=slot, version=now.slots[slot].version, reason=reason)
        if self._decided and path == self._current:
            self._current = self.previous()
            self._tell("rolled-back" if self._current else "no-bundle", reason=reason)

    def mark_good(self, path: Path) -> None:
        """Make a trial the active bundle after its self-test and a clean running period."""
        with suppress(OSError, BundleError), self._changing() as now:
            slot = self._slot(now, path)
            if slot is None or now.trial is None or now.trial.slot != slot:
                return
            state.save(self.folder, now.proven(slot))
            self._tell("marked-good", slot=slot, version=now.slots[slot].version)

    def holds(self, slot: str, held: Held) -> bool:
        """Return whether a slot's file matches its signed hash."""
        return self._usable(held, self.folder / "slots" / slot / held.file)

    def roll_back(self) -> Held:
        """End the trial or switch to the other slot, from the next start on.

        Returns:
            The bundle that is used from then on.

        Raises:
            UsageError: There is no bundle to return to.
            BundleError: The state cannot be read.
        """
        with self._changing() as now:
            slot = now.active if now.trial else now.fallback(now.active) if now.active else None
            path = self._path(now, slot)
            if slot is None or path is None or not self._usable(now.slots[slot], path):
                raise UsageError(
                    "there is no bundle to return to",
                    expected="another slot with a bundle that was marked good",
                )
            after = now.emptied(now.trial.slot) if now.trial else now.proven(slot)
            state.save(self.folder, after)
            self._tell("rolled-back", slot=slot, version=now.slots[slot].version, reason="by hand")
            return now.slots[slot]

    def collect(self) -> list[Path]:
        """Remove files that no slot names: old bundles and leftovers of interrupted installations.

        Returns:
            Paths that were removed.

        Raises:
            BundleError: The state cannot be read.
            BusyError: An installation is running.
        """
        with self.installing():
            return self.clean()

    def clean(self) -> list[Path]:
        """Do the work of `collect`; the caller holds the installation lock."""
        # Temporary files of the log belong to it while a writer is active.
        with self._changing() as now, locked(self.folder / audit.LOCK):
            named = {self._path(now, slot) for slot in now.slots}
            found = [*self.folder.glob(".*"), *self.folder.glob("slots/*/*")]
            removed = sorted(
                path for path in set(found) - named if path.is_file() or path.is_symlink()
            )
            for path in removed:
                durable.remove(path)
        if removed:
            self._tell("collected", files=len(removed))
        return removed

    def reset(self) -> None:
        """Move an unreadable state aside and start with empty slots.

        Raises:
            BusyError: An installation is running.
        """
        with self.installing(), locked(self.folder / LOCK):
            path = self.folder / state.STATE
            if path.exists():
                durable.move(path, path.with_suffix(".damaged"))
            state.save(self.folder, state.State())
            self._tell("reset")

    @contextmanager
    def installing(self) -> Iterator[None]:
        """Hold the exclusive right to write the spare slot.

        Raises:
            BusyError: Another process holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / INSTALLING, wait=False))
            except BlockingIOError as error:
                raise BusyError(
                    "another installation is running on this device", hint="wait until it ends"
                ) from error
            yield

    def _start(self) -> Path | None:
        with suppress(OSError, BundleError), self._changing() as now:
            if now.trial:
                slot, tries = now.trial.slot, now.trial.tries
                version = now.slots[slot].version
                path = self._path(now, slot)
                assert path is not None
                if tries > 0 and self._usable(now.slots[slot], path):
                    state.save(self.folder, now.tried())
                    self._tell("trial-started", slot=slot, version=version, tries_left=tries - 1)
                    return path
                reason = (
                    None if tries > 0 else f"{state.TRIES} starts without a clean running period"
                )
                now = now.emptied(slot, bad=reason)
                state.save(self.folder, now)
                self._tell(
                    "rolled-back",
                    slot=slot,
                    version=version,
                    reason=reason or "the file is damaged",
                )
            while now.active:
                path = self._path(now, now.active)
                if path and self._usable(now.slots[now.active], path):
                    return path
                self._tell("damaged", slot=now.active, version=now.slots[now.active].version)
                now = now.emptied(now.active)
                state.save(self.folder, now)
            self._tell("no-bundle")
            return None
        # Nothing can be recorded, so no trial starts: use a good bundle or none.
        found = self.previous()
        self._tell("unrecorded-start" if found else "no-bundle")
        return found

    def _read(self) -> State:
        try:
            return state.load(self.folder)
        except BundleError:
            return state.State()

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """Yield the state, locked against other writers while the body runs."""
        with locked(self.folder / LOCK):
            yield state.load(self.folder)

    def _path(self, now: State, slot: str | None) -> Path | None:
        held = now.slots.get(slot) if slot else None
        return self.folder / "slots" / str(slot) / held.file if held else None

    def _slot(self, now: State, path: Path) -> str | None:
        return next((slot for slot in now.slots if self._path(now, slot) == path), None)

    def _usable(self, held: Held, path: Path) -> bool:
        """Return whether a slot's file matches its signed hash."""
        try:
            return (
                path not in self._refused
                and path.stat().st_size == held.size
                and sha256(path) == held.sha256
            )
        except OSError:
            return False

    def _tell(self, event: str, **detail: Value) -> None:
        """Write to the audit log; on a full or read-only disk only the record is lost."""
        with suppress(OSError):
            self.audit.append(event, **detail)


def installed_state() -> Path | None:
    """Return the default state folder if a bundle was ever installed into it, else None.

    A folder whose slots were emptied also counts: a bundle that was marked bad on this device must
    not be replaced silently.
    """
    try:
        return DEFAULT_STATE if (DEFAULT_STATE / state.STATE).is_file() else None
    except PermissionError:  # a different user's folder: only the device's own user runs from it
        return None


def open_store(folder: Path | str = DEFAULT_STATE) -> BundleStore:
    """Open the slots of a state folder for one start of the runtime."""
    return SlotStore(Path(folder))
