"""Content of the slots in one small file that is replaced atomically."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError
from edge.util.files import json_text
from edge.util.machine_fault import refuse_machine_fault
from firmware_bridge import durable

if TYPE_CHECKING:
    from pathlib import Path

STATE = "state.json"
SLOTS = ("a", "b")
TRIES = 2
"""Number of starts of a bundle on trial that may end without a clean stop."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SlotBundle(_Strict, frozen=True, kw_only=True):
    """A bundle in a slot.

    Attributes:
        file: Name of the file in the slot's folder.
        sha256: Signed SHA-256 of the packed file.
        size: Size of the packed file in bytes.
        name: Name in the repository.
        version: Signed version.
        manifest: SHA-256 of its manifest.
        good: Whether it passed a clean running period.
    """

    file: str
    sha256: str
    size: int
    name: str
    version: int
    manifest: str
    good: bool = False


class Trial(_Strict, frozen=True, kw_only=True):
    """A bundle on trial.

    Attributes:
        slot: Slot of the bundle.
        tries: Number of starts left.
    """

    slot: str
    tries: int


class Bad(_Strict, frozen=True, kw_only=True):
    """A bundle that must not be used again."""

    sha256: str
    version: int
    reason: str


class SlotState(_Strict, frozen=True, kw_only=True):
    """State of both slots.

    Attributes:
        format: Format version of this file.
        slots: Maps each slot to the bundle that it holds.
        active: The slot in use if there is no trial.
        trial: The trial, if there is one.
        floor: Maps each name to the highest version ever installed; older ones are refused.
        bad: Bundles that must not be installed again.
    """

    format: int = 1
    slots: dict[str, SlotBundle] = {}
    active: str | None = None
    trial: Trial | None = None
    floor: dict[str, int] = {}
    bad: list[Bad] = []

    def spare(self) -> str:
        """The slot that an installation writes: the one that is not active."""
        return "b" if self.active == "a" else "a"

    def fallback(self, slot: str) -> str | None:
        """Return the other slot if it holds a good bundle."""
        other = "b" if slot == "a" else "a"
        bundle = self.slots.get(other)
        return other if bundle and bundle.good else None

    def installed(self, slot: str, bundle: SlotBundle) -> SlotState:
        """Return the state with a new bundle on trial."""
        return msgspec.structs.replace(
            self,
            slots={**self.slots, slot: bundle},
            trial=Trial(slot=slot, tries=TRIES),
            floor={**self.floor, bundle.name: max(self.floor.get(bundle.name, 0), bundle.version)},
            bad=[bad for bad in self.bad if bad.sha256 != bundle.sha256],
        )

    def tried(self) -> SlotState:
        """Return the state with one start less for the trial."""
        assert self.trial is not None
        return msgspec.structs.replace(
            self, trial=Trial(slot=self.trial.slot, tries=self.trial.tries - 1)
        )

    def refunded(self) -> SlotState:
        """Return the state with the last start of the trial taken back."""
        assert self.trial is not None
        tries = min(self.trial.tries + 1, TRIES)
        return msgspec.structs.replace(self, trial=Trial(slot=self.trial.slot, tries=tries))

    def proven(self, slot: str) -> SlotState:
        """Return the state with the trial's bundle as the active one."""
        bundle = msgspec.structs.replace(self.slots[slot], good=True)
        return msgspec.structs.replace(
            self, slots={**self.slots, slot: bundle}, active=slot, trial=None
        )

    def emptied(self, slot: str, *, bad: str | None = None) -> SlotState:
        """Return the state without a slot's bundle; the other slot is active if it is good.

        Args:
            slot: Slot to empty.
            bad: Reason to ban the bundle; None if only this copy is damaged.
        """
        bundle = self.slots.get(slot)
        marked = (
            [Bad(sha256=bundle.sha256, version=bundle.version, reason=bad)]
            if bundle and bad
            else []
        )
        return msgspec.structs.replace(
            self,
            slots={name: content for name, content in self.slots.items() if name != slot},
            active=self.fallback(slot) if self.active == slot else self.active,
            trial=None if self.trial and self.trial.slot == slot else self.trial,
            bad=[*self.bad, *marked],
        )

    def refused(self, bundle: SlotBundle, reason: str) -> SlotState:
        """Return the state with a bundle marked bad before it was in a slot."""
        bad = Bad(sha256=bundle.sha256, version=bundle.version, reason=reason)
        return msgspec.structs.replace(
            self, bad=[*(other for other in self.bad if other.sha256 != bad.sha256), bad]
        )


def load(folder: Path) -> SlotState:
    """Load the state of a device; an empty one if nothing was installed yet.

    Raises:
        BundleError: The file exists and cannot be read.
        MachineError: The machine prevents reading it.
    """
    path = folder / STATE
    try:
        state = msgspec.json.decode(path.read_bytes(), type=SlotState)
    except FileNotFoundError:
        return SlotState()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_machine_fault(f"{path} cannot be read", error)
        raise _damaged(path, str(error)) from error
    slot_names = {*state.slots, state.active or "a", state.trial.slot if state.trial else "a"}
    if (
        state.format != 1
        or not slot_names <= set(SLOTS)
        or not all(map(_plain, state.slots.values()))
    ):
        raise _damaged(path, "invalid slot or file name")
    present = {state.active, state.trial.slot if state.trial else None} - {None}
    if not present <= set(state.slots):
        raise _damaged(path, "an empty slot in use")
    return state


def save(folder: Path, state: SlotState) -> None:
    """Replace the state; it survives a power cut after the return.

    Raises:
        OSError: It cannot be written; the old state remains valid.
    """
    durable.write(folder / STATE, json_text(state))


def _plain(bundle: SlotBundle) -> bool:
    return (
        "/" not in bundle.file
        and not bundle.file.startswith(".")
        and bundle.file.endswith(".difom")
    )


def _damaged(path: Path, problem: str) -> BundleError:
    return BundleError(
        f"{path} cannot be read",
        expected="the state of the two slots",
        got=problem,
        hint="empty both slots, then install again",
        code="slots-unreadable",
    )
