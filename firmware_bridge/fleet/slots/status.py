"""Report what a device holds without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError, BusyError, MachineError
from firmware_bridge.fleet.slots import state

# msgspec reads these annotations when it decodes a report.
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.audit_chain import AuditReport, Record  # noqa: TC001
from firmware_bridge.fleet.slots.signal import refuse_under_signal
from firmware_bridge.fleet.slots.slot_files import find_problem
from firmware_bridge.fleet.trust import trust_store

if TYPE_CHECKING:
    from pathlib import Path


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """One slot.

    Attributes:
        slot: `a` or `b`.
        name: Name of the bundle; None if the slot is empty.
        version: Version of the bundle.
        role: `active`, `trial`, `fallback`, or `empty`.
        tries: Number of starts that a trial has left.
        ok: Whether the bundle may run: signed by a trusted publisher, and undamaged.
        problem: Why it may not; empty if it may.
    """

    slot: str
    name: str | None = None
    version: int | None = None
    role: str = "empty"
    tries: int | None = None
    ok: bool = True
    problem: str = ""


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """Bundles of a device.

    Attributes:
        slots: Both slots.
        bad: Bundles that were marked bad.
        keys: Key ids of the trusted root; empty if no publisher is trusted.
        signal: Whether a signal is present.
        audit: Result of checking the log's chain.
        events: Records of the log.
        problems: Problems found; empty if there are none.
    """

    slots: list[SlotReport]
    bad: list[state.Bad]
    keys: list[str]
    signal: bool
    audit: AuditReport
    events: list[Record]
    problems: list[str]


def examine(folder: Path) -> StatusReport:
    """Examine a state folder.

    Raises:
        BundleError: The folder does not exist, or its trusted root cannot be read.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder} does not exist", hint="trust a publisher first", code="no-publisher"
        )
    problems = []
    try:
        now = state.load(folder)
    except BundleError as error:
        now = state.SlotState()
        problems.append(error.what)
    slots = [_slot(folder, now, slot) for slot in state.SLOTS]
    problems += [f"slot {slot.slot}: {slot.problem}" for slot in slots if not slot.ok]
    log = AuditLog(folder)
    chain = log.verify()
    problems += [f"the log was tampered with: {problem}" for problem in chain.problems]
    return StatusReport(
        slots=slots,
        bad=now.bad,
        keys=_keys(folder),
        signal=_signal(folder),
        audit=chain,
        events=log.records(),
        problems=problems,
    )


def _slot(folder: Path, now: state.SlotState, slot: str) -> SlotReport:
    bundle = now.slots.get(slot)
    if bundle is None:
        return SlotReport(slot=slot)
    trial = now.trial if now.trial and now.trial.slot == slot else None
    role = "trial" if trial else "active" if now.active == slot else "fallback"
    try:
        problem = find_problem(folder, slot, bundle)
    except MachineError as error:
        problem = error.what
    return SlotReport(
        slot=slot,
        name=bundle.name,
        version=bundle.version,
        role=role,
        tries=trial.tries if trial else None,
        ok=not problem,
        problem=problem,
    )


def _keys(folder: Path) -> list[str]:
    if not (folder / trust_store.TRUST).exists():
        return []
    return trust_store.root_keys(trust_store.load(folder))


def _signal(folder: Path) -> bool:
    try:
        refuse_under_signal(folder)
    except BusyError:
        return True
    return False
