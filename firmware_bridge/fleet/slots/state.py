"""Which slot holds what: one small file, replaced whole, so that every change happens at one instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError
from firmware_bridge import durable

if TYPE_CHECKING:
    from pathlib import Path

STATE = "state.json"
SLOTS = ("a", "b")
TRIES = 2
"""Starts that a new bundle gets to prove itself."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Held(_Strict, frozen=True, kw_only=True):
    """A bundle in a slot.

    Attributes:
        file: Its name in the slot's folder.
        sha256: Of the packed file, as it was signed.
        size: Bytes of the packed file.
        name: In the repository.
        version: As it was signed.
        manifest: SHA-256 of its manifest.
        good: It passed a clean running period.
    """

    file: str
    sha256: str
    size: int
    name: str
    version: int
    manifest: str
    good: bool = False


class Trial(_Strict, frozen=True, kw_only=True):
    """A bundle that has yet to prove itself.

    Attributes:
        slot: Where it lies.
        tries: Starts that it has left.
    """

    slot: str
    tries: int


class Bad(_Strict, frozen=True, kw_only=True):
    """A bundle that is not to be used again."""

    sha256: str
    version: int
    reason: str


class State(_Strict, frozen=True, kw_only=True):
    """Everything that is known of the slots.

    Attributes:
        format: Of this file.
        slots: Slot -> what it holds.
        active: The slot in use where there is no trial.
        trial: The trial, if there is one.
        floor: Name -> the highest version that was ever installed; nothing older is.
        bad: What must not be installed again.
    """

    format: int = 1
    slots: dict[str, Held] = {}
    active: str | None = None
    trial: Trial | None = None
    floor: dict[str, int] = {}
    bad: list[Bad] = []

    def spare(self) -> str:
        """The slot that an installation writes: not the active one."""
        return "b" if self.active == "a" else "a"

    def fallback(self, slot: str) -> str | None:
        """The other slot, where it holds a good bundle."""
        other = "b" if slot == "a" else "a"
        held = self.slots.get(other)
        return other if held and held.good else None

    def installed(self, slot: str, held: Held) -> State:
        """With a new bundle on trial."""
        return msgspec.structs.replace(
            self,
            slots={**self.slots, slot: held},
            trial=Trial(slot=slot, tries=TRIES),
            floor={**self.floor, held.name: max(self.floor.get(held.name, 0), held.version)},
            bad=[bad for bad in self.bad if bad.sha256 != held.sha256],
        )

    def tried(self) -> State:
        """With one start less for the trial."""
        assert self.trial is not None
        return msgspec.structs.replace(
            self, trial=Trial(slot=self.trial.slot, tries=self.trial.tries - 1)
        )

    def proven(self, slot: str) -> State:
        """With the trial as the active bundle."""
        held = msgspec.structs.replace(self.slots[slot], good=True)
        return msgspec.structs.replace(
            self, slots={**self.slots, slot: held}, active=slot, trial=None
        )

    def emptied(self, slot: str, *, bad: str | None = None) -> State:
        """Without what a slot holds; the other one is active if it is good.

        Args:
            slot: Slot to empty.
            bad: Why its bundle is not to be used again; None where only this copy of it is damaged.
        """
        held = self.slots.get(slot)
        known = [Bad(sha256=held.sha256, version=held.version, reason=bad)] if held and bad else []
        return msgspec.structs.replace(
            self,
            slots={name: kept for name, kept in self.slots.items() if name != slot},
            active=self.fallback(slot) if self.active == slot else self.active,
            trial=None if self.trial and self.trial.slot == slot else self.trial,
            bad=[*self.bad, *known],
        )

    def refused(self, held: Held, reason: str) -> State:
        """With a bundle marked bad before it ever came into a slot."""
        bad = Bad(sha256=held.sha256, version=held.version, reason=reason)
        return msgspec.structs.replace(
            self, bad=[*(other for other in self.bad if other.sha256 != bad.sha256), bad]
        )


def load(folder: Path) -> State:
    """The state of a device; an empty one where nothing was installed yet.

    Raises:
        BundleError: The file is there and cannot be read.
    """
    path = folder / STATE
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    named = {*state.slots, state.active or "a", state.trial.slot if state.trial else "a"}
    if state.format != 1 or not named <= set(SLOTS) or not all(map(_plain, state.slots.values())):
        raise _damaged(path, "names that are no slots or files")
    present = {state.active, state.trial.slot if state.trial else None} - {None}
    if not present <= set(state.slots):
        raise _damaged(path, "a slot in use that holds nothing")
    return state


def save(folder: Path, state: State) -> None:
    """Replace the state; after the return it outlasts a power cut.

    Raises:
        OSError: It cannot be written; the old state holds.
    """
    encoded = msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n"
    durable.write(folder / STATE, encoded)


def _plain(held: Held) -> bool:
    return "/" not in held.file and not held.file.startswith(".") and held.file.endswith(".difom")


def _damaged(path: Path, got: str) -> BundleError:
    return BundleError(
        f"{path} cannot be read",
        expected="the state of the two slots",
        got=got,
        hint="edge-difom device gc --reset, then install again",
    )
