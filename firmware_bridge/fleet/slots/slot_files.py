"""The files of a slot: a packed bundle, and the metadata that a publisher signed about it."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from edge.errors import BundleError, MissingDependencyError
from edge.util.machine_fault import machine_fault, refuse_machine_fault
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.folder import open_plain
from firmware_bridge.fleet.trust.signed_target import SignedTarget, read_signed_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from firmware_bridge.fleet.slots.state import SlotBundle

_BLOCK = 1 << 20
_LARGEST_METADATA = 12_000_000
"""Metadata of two roles, bytes; a device reads at most 5 MB of each."""
_PAUSES_S = (0.1, 0.4)
"""Pauses before a file on a medium that does not answer is read again, seconds."""


def bundle_path(folder: Path, slot: str, bundle: SlotBundle) -> Path:
    """Return the path of a slot's packed bundle."""
    return folder / "slots" / slot / bundle.file


def metadata_path(bundle: Path) -> Path:
    """Return the path of the signed metadata that are kept beside a packed bundle."""
    return bundle.with_suffix(".signed.json")


def find_problem(folder: Path, slot: str, bundle: SlotBundle) -> str:
    """Return why a slot's bundle must not run; empty if it may.

    The state names a bundle, but is not signed itself. So every claim of it is compared with what a
    trusted publisher signed, and the file with both.

    Args:
        folder: State folder.
        slot: The slot.
        bundle: Its bundle according to the state.

    Raises:
        MachineError: The machine prevents the check, so it says nothing about the bundle.
    """
    path = bundle_path(folder, slot, bundle)
    try:
        signed = _signed(folder, path, bundle)
        claimed = SignedTarget(
            sha256=bundle.sha256, size=bundle.size, version=bundle.version, manifest=bundle.manifest
        )
        if claimed != signed:
            return "it is not the bundle that its publisher signed"
        if _digest(path, bundle.size) != bundle.sha256:
            return "the file is damaged"
    except (BundleError, MissingDependencyError) as error:
        return error.what
    return ""


def _signed(folder: Path, path: Path, bundle: SlotBundle) -> SignedTarget:
    place = metadata_path(path)
    try:
        metadata = _read(place, _LARGEST_METADATA)
    except OSError as error:
        refuse_machine_fault(f"{place} cannot be read", error)
        raise BundleError(
            "it has no signed description", got=error.strerror or str(error)
        ) from error
    return read_signed_target(metadata, bundle.name, trust_store.trusted_roots(folder))


def _digest(path: Path, size: int, pauses_s: Sequence[float] = _PAUSES_S) -> str:
    """Return the SHA-256 of a file of this size; empty for a different size."""
    try:
        return _digest_once(path, size)
    except OSError as error:
        fault = machine_fault(error)
        if fault is None or not fault.spares_others or not pauses_s:
            refuse_machine_fault(f"{path} cannot be read", error)
            reason = error.strerror or str(error)
            raise BundleError("the file cannot be read", got=reason) from error
    time.sleep(pauses_s[0])
    return _digest(path, size, pauses_s[1:])


def _digest_once(path: Path, size: int) -> str:
    digest, left = hashlib.sha256(), size + 1
    with open_plain(path) as file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest() if left == 1 else ""


def _read(path: Path, largest: int) -> bytes:
    with open_plain(path) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise BundleError("its signed description is too large")
    return data
