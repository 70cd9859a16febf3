"""The runtime's view of the slots: the bundle to use at this start, and its outcome.

The start of a trial is counted on disk before the bundle is returned, so that a bundle that crashes
the machine cannot do so forever. A start that ends cleanly is taken back, and starts that did not
end cleanly only roll a trial back: power cuts ban no bundle. If a trial cannot be recorded, because
the disk is read-only or a different process holds the lock, it does not start.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle.shipped import default_bundle
from edge.errors import BundleError, BusyError, MachineError, UsageError
from edge.util.files import locked
from edge.util.machine_fault import machine_fault
from firmware_bridge import durable
from firmware_bridge.fleet.slots import audit, state
from firmware_bridge.fleet.slots.audit import AuditLog, utc_now
from firmware_bridge.fleet.slots.slot_files import bundle_path, find_problem, metadata_path
from firmware_bridge.fleet.trust.trust_store import DEFAULT_STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from edge.contracts import BundleStore
    from firmware_bridge.fleet.slots.audit_chain import Value
    from firmware_bridge.fleet.slots.state import SlotBundle, SlotState

LOCK, INSTALLING = "lock", "installing"

_SOON_S = 0.5
"""Time after which a lock that is held elsewhere is reported, and the longest wait at the end."""

_UNRECORDED = (OSError, BundleError, BusyError)
"""Errors because of which a change of the state is not recorded."""


class SlotStore:
    """The two slots of a state folder, for one start of the runtime (`edge.contracts.BundleStore`).

    The first `current` selects the bundle and counts a start if it is on trial; later calls return
    the same bundle until `mark_bad`. A bundle is returned only if a trusted publisher signed it.

    Args:
        folder: SlotState folder.
        now: Wall clock of the audit log.
    """

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self.audit = AuditLog(folder, now=now)
        self._decided = False
        self._current: Path | None = None
        self._refused: set[Path] = set()
        self._digests: dict[Path, str] = {}
        self._counted = self._fell_back = False
        self._unrecorded = ""
        self._problems: dict[str, str] = {}
        self._unreadable: set[str] = set()

    def current(self) -> Path | None:
        """Return the bundle of this start after its check; None if no slot has a usable one.

        Raises:
            MachineError: The machine prevents the check; ask again.
        """
        if not self._decided:
            self._current, self._decided = self._start(), True
        return self._current

    def previous(self) -> Path | None:
        """Return the other slot's bundle if it is good and passes its check.

        Raises:
            MachineError: The machine prevents the check; ask again.
        """
        now = self._read()
        for slot in (now.active, now.fallback(now.active) if now.active else None):
            path = self._path(now, slot)
            if slot and path and path != self._current and self._usable(slot, now.slots[slot]):
                return path
        return None

    def fallback(self) -> Path | None:
        """Return the shipped bundle, None if the package ships none; the log records it."""
        path = default_bundle()
        if path is not None and not self._fell_back:
            self._fell_back = True
            self._audit("shipped-bundle", file=path.name, reason=self.trouble())
        return path

    def digest(self, path: Path) -> str | None:
        """Return the signed SHA-256 of the manifest of a slot's bundle; None for a shipped one."""
        return self._digests.get(path)

    def trouble(self) -> str:
        """Return why this start is not recorded, or why no slot is used; empty otherwise."""
        if self._unrecorded or self._current or not self._decided:
            return self._unrecorded
        # A copy, because the supervisor's thread may be writing.
        text = "; ".join(f"{place}: {why}" for place, why in sorted(dict(self._problems).items()))
        return text or "no slot holds a bundle"

    def mark_bad(self, path: Path, reason: str) -> None:
        """Never use this bundle again; `current` then returns what `previous` returned.

        Args:
            path: Path from `current`; if the bundle is gone, only the log records it.
            reason: Reason for the log.
        """
        self._refused.add(path)
        with suppress(*_UNRECORDED), self._changing() as now:
            slot = self._slot(now, path)
            if slot is None:
                self._audit("bad-unknown", file=path.name, reason=reason)
            else:
                self._problems[f"slot {slot}"] = reason
                # A copy that was damaged or exchanged says nothing about what was published.
                damage = find_problem(self.folder, slot, now.slots[slot])
                state.save(self.folder, now.emptied(slot, bad=None if damage else reason))
                self._audit(
                    "damaged" if damage else "marked-bad",
                    slot=slot,
                    version=now.slots[slot].version,
                    reason=reason,
                )
        if self._decided and path == self._current:
            self._current = None
            with suppress(MachineError):
                self._current = self.previous()
            self._audit("rolled-back" if self._current else "no-bundle", reason=reason)

    def mark_good(self, path: Path) -> None:
        """Make a trial the active bundle after its self-test and a clean running period.

        Raises:
            OSError: It cannot be recorded; try again later.
            BusyError: A different process holds the lock; try again later.
            BundleError: The state cannot be read.
        """
        if not self._unrecorded and not self._on_trial(self._read(), path):
            return
        with self._changing() as now:
            slot = self._slot(now, path)
            if slot is None or now.trial is None or now.trial.slot != slot:
                return
            state.save(self.folder, now.proven(slot))
            self._audit("marked-good", slot=slot, version=now.slots[slot].version)

    def refund(self, path: Path) -> None:
        """Take the counted start of a trial back: it ended without a fault of the bundle."""
        if not self._counted:
            return
        with suppress(*_UNRECORDED), self._changing(wait_s=0.0) as now:
            if now.trial is not None and self._on_trial(now, path):
                state.save(self.folder, now.refunded())
                slot = now.trial.slot
                self._audit("trial-refunded", slot=slot, version=now.slots[slot].version)
            self._counted = False

    def roll_back(self) -> SlotBundle:
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
            if slot is None or path is None or not self._usable(slot, now.slots[slot]):
                raise UsageError(
                    "there is no bundle to return to",
                    expected="another slot with a bundle that was marked good",
                )
            after = now.emptied(now.trial.slot) if now.trial else now.proven(slot)
            state.save(self.folder, after)
            self._audit("rolled-back", slot=slot, version=now.slots[slot].version, reason="by hand")
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
        with self._changing() as now, durable.state_lock(self.folder / audit.LOCK):
            paths = [bundle_path(self.folder, slot, bundle) for slot, bundle in now.slots.items()]
            in_use = {*paths, *map(metadata_path, paths)}
            present = [*self.folder.glob(".*"), *self.folder.glob("slots/*/*")]
            removed = sorted(
                path for path in set(present) - in_use if path.is_file() or path.is_symlink()
            )
            for path in removed:
                durable.remove(path)
        if removed:
            self._audit("collected", files=len(removed))
        return removed

    def reset(self) -> None:
        """Move an unreadable state aside and start with empty slots.

        Raises:
            BusyError: An installation is running.
        """
        with self.installing(), durable.state_lock(self.folder / LOCK):
            path = self.folder / state.STATE
            if path.exists():
                durable.move(path, path.with_suffix(".damaged"))
            state.save(self.folder, state.SlotState())
            self._audit("reset")

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
        try:
            with self._changing() as now:
                return self._decide(now)
        except MachineError:
            raise  # it prevents reading, which must not be taken for an empty slot
        except _UNRECORDED as error:
            # Nothing can be recorded, so no trial starts: use a good bundle or none.
            if isinstance(error, BundleError):
                self._problems["state"] = error.what
            elif isinstance(error, BusyError) or machine_fault(error) is not None:
                reason = error.what if isinstance(error, BusyError) else str(error)
                self._unrecorded = f"{reason}; this start records nothing"
            previous = self.previous()
            self._audit("unrecorded-start" if previous else "no-bundle", reason=self._unrecorded)
            return previous

    def _decide(self, now: SlotState) -> Path | None:
        """Choose the bundle of this start, and record what follows from the choice."""
        self._unreadable.clear()
        if now.trial:
            slot, tries = now.trial.slot, now.trial.tries
            bundle = now.slots[slot]
            if tries > 0 and self._usable(slot, bundle):
                state.save(self.folder, now.tried())
                self._counted = True
                self._audit(
                    "trial-started", slot=slot, version=bundle.version, tries_left=tries - 1
                )
                return self._path(now, slot)
            if tries <= 0:
                self._problems[f"slot {slot}"] = f"{state.TRIES} starts that did not end cleanly"
            if slot not in self._unreadable:
                now = self._empty(now, slot, "rolled-back")
        while (active := now.active) and not self._usable(active, now.slots[active]):
            if active in self._unreadable:
                return self._beside(now, active)
            now = self._empty(now, active, "damaged")
        if active is None and self._unreadable:
            raise self._unreadable_error()
        if active is None:
            self._audit("no-bundle")
        return self._path(now, active)

    def _empty(self, now: SlotState, slot: str, event: str) -> SlotState:
        """Empty a slot whose bundle must not run, without banning what was published."""
        after = now.emptied(slot)
        state.save(self.folder, after)
        reason = self._problems[f"slot {slot}"]
        self._audit(event, slot=slot, version=now.slots[slot].version, reason=reason)
        return after

    def _beside(self, now: SlotState, slot: str) -> Path | None:
        """Return the other slot's good bundle, while the medium under a slot does not answer."""
        other = now.fallback(slot)
        if other is None or not self._usable(other, now.slots[other]):
            raise self._unreadable_error()
        self._audit("unreadable", slot=slot, reason=self._problems[f"slot {slot}"])
        return self._path(now, other)

    def _unreadable_error(self) -> MachineError:
        return MachineError(
            f"no slot of {self.folder} can be read",
            got="; ".join(self._problems[f"slot {slot}"] for slot in sorted(self._unreadable)),
            hint="check the disk; nothing is wrong with the bundles themselves",
        )

    def _read(self) -> SlotState:
        try:
            return state.load(self.folder)
        except BundleError:
            return state.SlotState()

    @contextmanager
    def _changing(self, wait_s: float | None = None) -> Iterator[SlotState]:
        """Yield the state, locked against other writers while the body runs.

        Args:
            wait_s: Time to wait for the lock after it was reported, seconds.
        """
        path = self.folder / LOCK
        with ExitStack() as stack:
            try:
                stack.enter_context(durable.state_lock(path, _SOON_S))
            except BusyError as error:
                self._unrecorded = error.what
                stack.enter_context(durable.state_lock(path, wait_s))
            self._unrecorded = ""
            yield state.load(self.folder)

    def _path(self, now: SlotState, slot: str | None) -> Path | None:
        bundle = now.slots.get(slot) if slot else None
        return bundle_path(self.folder, slot, bundle) if slot and bundle else None

    def _slot(self, now: SlotState, path: Path) -> str | None:
        return next((slot for slot in now.slots if self._path(now, slot) == path), None)

    def _on_trial(self, now: SlotState, path: Path) -> bool:
        return now.trial is not None and self._path(now, now.trial.slot) == path

    def _usable(self, slot: str, bundle: SlotBundle) -> bool:
        """Return whether a slot's bundle may run; `_problems` has the reason if it may not.

        Raises:
            MachineError: The machine prevents the check of any bundle.
        """
        path = bundle_path(self.folder, slot, bundle)
        if path in self._refused:
            return False
        try:
            problem = find_problem(self.folder, slot, bundle)
        except MachineError as error:
            fault = machine_fault(error)
            if fault is None or not fault.spares_others:
                raise
            self._unreadable.add(slot)
            problem = f"{path.name} cannot be read: {fault.text}"
        if problem:
            self._problems[f"slot {slot}"] = problem
            return False
        self._digests[path] = bundle.manifest
        return True

    def _audit(self, event: str, **detail: Value) -> None:
        """Write to the audit log; on a full or read-only disk only the record is lost."""
        with suppress(OSError, BusyError):
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
