"""Install a bundle from a repository into the spare slot: verify, check, test, then activate.

A single write activates it. Before that write nothing that the device uses has changed; the next
installation removes what an interrupted one left.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edge.bundle.manifest import SCHEMA_VERSION
from edge.bundle.reader import Bundle
from edge.engines.runtimes import find_runtimes
from edge.engines.selftest import check_in_process
from edge.errors import (
    BundleError,
    BusyError,
    EdgeDifomError,
    LatencyError,
    MachineError,
    MissingDependencyError,
    ParityError,
    UsageError,
)
from firmware_bridge import durable
from firmware_bridge.fit import fit
from firmware_bridge.fleet.slots import state
from firmware_bridge.fleet.slots.audit import utc_now
from firmware_bridge.fleet.slots.signal import refuse_under_signal
from firmware_bridge.fleet.slots.slot_files import find_problem, metadata_path
from firmware_bridge.fleet.slots.store import LOCK, SlotStore
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.folder import open_folder
from firmware_bridge.fleet.trust.offer import Offer, differences, is_target_name, read_offer
from firmware_bridge.fleet.trust.signed_target import join_family, read_signed_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import IO

    from edge.engines.runtimes import Runtime
    from edge.engines.selftest import SelfTest
    from firmware_bridge.fleet.slots.audit_chain import Value
    from firmware_bridge.fleet.slots.state import SlotBundle, SlotState
    from firmware_bridge.fleet.trust.folder import Folder

_BLOCK = 1 << 20
_ROOM = 4 << 20
"""Bytes that must stay free in addition to the new bundle, for state and log."""


class _Candidate(NamedTuple):
    """A bundle as described by its signed metadata."""

    target: str
    file: str
    sha256: str
    size: int
    offer: Offer
    metadata: bytes
    """The signed metadata that describe it."""


def install(
    source: str,
    folder: Path,
    *,
    target: str | None = None,
    again: bool = False,
    now: Callable[[], datetime] = utc_now,
    runtimes: Mapping[str, Runtime | None] | None = None,
    architecture: str | None = None,
    check: Callable[[Path], SelfTest] = check_in_process,
) -> SlotBundle:
    """Install the newest bundle of a repository; its trial begins at the next start.

    Args:
        source: Folder or `file://` address of the repository.
        folder: SlotState folder of this device.
        target: Name in the repository; required if there are several.
        again: Install a bundle although it was marked bad on this device.
        now: Wall clock, UTC, for expiry and the log.
        runtimes: Installed runtimes; detected by default.
        architecture: Architecture of this machine.
        check: Self-test of a packed bundle.

    Returns:
        The installed bundle.

    Raises:
        BusyError: A signal is present, another installation runs, the disk has no room, or, as a
            `MachineError`, this machine cannot test a bundle at the moment.
        BundleError: The bundle is untrusted, expired, older than what was installed, damaged, or
            marked bad.
        MissingDependencyError: The bundle cannot run on this machine.
        ParityError: The self-test failed.
        LatencyError: The self-test was too slow.
        UsageError: This version is already installed, or the repository holds several bundles.
    """
    durable.make_folder(folder)
    store = SlotStore(folder, now=now)
    with store.installing():
        try:
            refuse_under_signal(folder)
            before = state.load(folder)
            repository = open_folder(source)
            candidate = _verified_candidate(repository, folder, target, now)
            _refuse_older(candidate, before, folder)
            _refuse_bad(candidate, before, again=again)
            _refuse_unfit(candidate, runtimes or find_runtimes(), architecture)
            _refuse_without_room(candidate, folder)
        except EdgeDifomError as error:
            with suppress(OSError):
                store.audit.append("refused", source=source, reason=error.what, got=error.got)
            raise
        store.clean()
        installed = _install_candidate(store, repository, candidate, before.spare(), check)
        store.clean()
        return installed


def _verified_candidate(
    repository: Folder, folder: Path, target: str | None, now: Callable[[], datetime]
) -> _Candidate:
    from firmware_bridge.fleet.system.check_stick import FOLDER as SYSTEM
    from firmware_bridge.fleet.trust.client import LARGEST, read_families, refresh

    known, clock = trust_store.load(folder), now()
    known, targets = refresh(
        repository.metadata, known, clock, lambda trusted: trust_store.save(folder, trusted)
    )
    metadata = repository.metadata(f"{targets.version}.targets.json", LARGEST["targets"]) or b""
    # A stick also holds the software of the cart, in a folder of its own.
    offered = {
        name: (file, metadata)
        for name, file in targets.targets.items()
        if not name.startswith(SYSTEM)
    }
    wanted = None if target is None else f"{target}.difom"
    if wanted is None or wanted not in offered:
        for family in read_families(repository.metadata, known, targets, clock, wanted):
            signed_by_both = join_family(metadata, family.name, family.metadata)
            for name, file in family.targets.items():
                offered.setdefault(name, (file, signed_by_both))
    names = sorted(name.removesuffix(".difom") for name in offered)
    if target is None and len(names) != 1:
        raise UsageError(
            f"the repository holds {len(names)} bundles",
            expected="the name of the one to install",
            got=", ".join(names),
            hint="name it as the target",
            code="several-bundles",
        )
    name = f"{target or names[0]}.difom"
    if name not in offered:
        raise UsageError(f"the repository has no {name}", expected=" or ".join(names))
    entry, metadata = offered[name]
    digest = entry.hashes.get("sha256")
    if not is_target_name(name) or digest is None or not re.fullmatch("[0-9a-f]{64}", digest):
        raise BundleError(
            f"{name!r} is not published as a bundle", expected="a plain name and a SHA-256"
        )
    plain, offer = name.removesuffix(".difom"), read_offer(entry.custom, name)
    # Read again to be kept with the slot, so it must say the same once more.
    signed = read_signed_target(metadata, plain, [trust_store.load(folder).root])
    if (signed.sha256, signed.size) != (digest, entry.length) or (
        (signed.version, signed.manifest) != (offer.version, offer.manifest)
    ):
        raise BundleError(f"{repository.path} changed while it was read", hint="install it again")
    return _Candidate(plain, f"{digest}.{name}", digest, entry.length, offer, metadata)


def _refuse_older(candidate: _Candidate, before: SlotState, folder: Path) -> None:
    version, floor = candidate.offer.version, before.floor.get(candidate.target, 0)
    if version < floor:
        raise BundleError(
            f"{candidate.target} {version} is older than what was installed on this device",
            expected=f"version {floor} or later",
            got=f"version {version}",
            hint="publish the older bundle again with a later version, or roll back",
            code="older-than-installed",
        )
    same = [
        entry
        for entry in before.slots.values()
        if (entry.name, entry.version) == (candidate.target, version)
    ]
    if any(entry.sha256 != candidate.sha256 for entry in same):
        raise BundleError(
            f"{candidate.target} {version} differs from the installed bundle of this version"
        )
    used = {before.active, before.trial.slot if before.trial else None}
    # A slot that must not run, such as a damaged one, is replaced by the same version.
    if any(
        before.slots[slot] in same and not find_problem(folder, slot, before.slots[slot])
        for slot in used
        if slot
    ):
        raise UsageError(
            f"{candidate.target} {version} is installed already", expected="a later version"
        )


def _refuse_bad(candidate: _Candidate, before: SlotState, *, again: bool) -> None:
    for bad in before.bad:
        if bad.sha256 == candidate.sha256 and not again:
            raise BundleError(
                f"{candidate.target} {candidate.offer.version} was marked bad on this device",
                got=bad.reason,
                hint="publish a better one, or allow this one again",
                code="bundle-marked-bad",
            )


def _refuse_unfit(
    candidate: _Candidate, runtimes: Mapping[str, Runtime | None], architecture: str | None
) -> None:
    offer = candidate.offer
    if offer.schema_version != SCHEMA_VERSION:
        raise BundleError(
            f"{candidate.target} {offer.version} has manifest schema {offer.schema_version}",
            expected=f"schema {SCHEMA_VERSION}",
            hint="pip install --upgrade edge-difom",
        )
    report = fit(offer, runtimes=runtimes, architecture=architecture)
    if not report.fits:
        raise MissingDependencyError(
            f"{candidate.target} {offer.version} cannot run on this machine",
            expected="a runtime for one of its INT8 engines",
            got="; ".join(
                f"{engine.runtime} {engine.precision}: {', '.join(engine.obstacles)}"
                for engine in report.engines
                if engine.obstacles
            ),
            hint="install such a runtime",
            code="no-runtime-fits",
        )


def _refuse_without_room(candidate: _Candidate, folder: Path) -> None:
    disk = os.statvfs(folder)
    free, needed = disk.f_bavail * disk.f_frsize, candidate.size + _ROOM
    if free < needed:
        raise BusyError(
            f"the disk of {folder} is full",
            expected=f"{needed} bytes",
            got=f"{free} bytes",
            hint="remove bundles that no slot needs",
            code="no-room-for-bundle",
        )


def _install_candidate(
    store: SlotStore,
    repository: Folder,
    candidate: _Candidate,
    slot: str,
    check: Callable[[Path], SelfTest],
) -> SlotBundle:
    """Copy, verify and test a bundle next to the slot's content, then switch over."""
    entry = state.SlotBundle(
        file=f"{candidate.offer.version}-{candidate.sha256[:16]}.difom",
        sha256=candidate.sha256,
        size=candidate.size,
        name=candidate.target,
        version=candidate.offer.version,
        manifest=candidate.offer.manifest,
    )
    place = store.folder / "slots" / slot
    durable.make_folder(place)
    part = place / f".{entry.file}.part"
    begun: dict[str, Value] = {"slot": slot, "name": entry.name, "version": entry.version}
    try:
        store.audit.append("install-begins", **begun, sha256=entry.sha256)
        _copy(repository, candidate, part)
        _refuse_untrue(part, candidate)
        refuse_under_signal(store.folder)
        _refuse_failing(store, part, entry, check)
        refuse_under_signal(store.folder)
        durable.write(metadata_path(place / entry.file), candidate.metadata)
        durable.move(part, place / entry.file)
        with durable.state_lock(store.folder / LOCK):
            now = state.load(store.folder)
            if now.spare() != slot:
                raise BusyError(
                    "the slots changed during the installation", hint="install it again"
                )
            state.save(store.folder, now.installed(slot, entry))
    except (EdgeDifomError, OSError) as error:
        reason = error.what if isinstance(error, EdgeDifomError) else str(error)
        with suppress(OSError):
            store.audit.append(
                "install-failed", **begun, reason=reason, got=getattr(error, "got", "")
            )
        if isinstance(error, EdgeDifomError):
            raise
        raise BusyError(
            f"{entry.name} {entry.version} cannot be written to {store.folder}",
            got=error.strerror or str(error),
            hint="remove bundles that no slot needs",
            code="no-room-for-bundle",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    with suppress(OSError):
        store.audit.append("installed", **begun)
    return entry


def _copy(repository: Folder, candidate: _Candidate, part: Path) -> None:
    """Copy no more than the signed size, and check size and hash."""
    digest, left = hashlib.sha256(), candidate.size + 1
    with repository.target(candidate.file) as source, part.open("wb") as copy:
        while left > 0 and (block := _block(source, min(_BLOCK, left), candidate)):
            digest.update(block)
            copy.write(block)
            left -= len(block)
        durable.sync_file(copy)
    durable.sync_folder(part.parent)
    size = candidate.size + 1 - left
    if (size, digest.hexdigest()) != (candidate.size, candidate.sha256):
        raise BundleError(
            f"{candidate.file} does not match its signature",
            expected=f"{candidate.size} bytes with SHA-256 {candidate.sha256}",
            got=f"{size} bytes with SHA-256 {digest.hexdigest()}" if left else "more bytes",
            hint="copy the repository again, whole",
        )


def _block(source: IO[bytes], size: int, candidate: _Candidate) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise BundleError(
            f"{candidate.file} cannot be read",
            got=error.strerror or str(error),
            hint="copy the repository again",
        ) from error


def _refuse_untrue(part: Path, candidate: _Candidate) -> None:
    """Check that a bundle is consistent and matches its metadata, whether it is signed or not."""
    bundle = Bundle.open(part)
    wrong = [
        f"{name} {state_of}"
        for name, state_of in bundle.verify_hashes().items()
        if state_of != "ok"
    ]
    wrong += [
        f"{name} differs from the signed description"
        for name in differences(candidate.offer, bundle)
    ]
    if wrong:
        raise BundleError(
            f"{candidate.target} {candidate.offer.version} is inconsistent",
            got="; ".join(wrong),
            hint="publish it again",
        )


def _refuse_failing(
    store: SlotStore, part: Path, entry: SlotBundle, check: Callable[[Path], SelfTest]
) -> None:
    outcome = check(part)
    if outcome.ok:
        return
    if outcome.machine:
        raise MachineError(
            f"{entry.name} {entry.version} could not be tested on this machine",
            got=outcome.machine,
            hint="install it again; nothing is wrong with the bundle itself",
        )
    reason = "; ".join(outcome.problems)
    if outcome.late:
        # A busy machine is slow too, so this alone does not mark a bundle bad.
        raise LatencyError(f"{entry.name} {entry.version} is too slow on this machine", got=reason)
    with durable.state_lock(store.folder / LOCK):
        state.save(store.folder, state.load(store.folder).refused(entry, f"self-test: {reason}"))
    raise ParityError(
        f"{entry.name} {entry.version} fails its self-test on this machine; what was active stays",
        expected="its golden frames' scores from every engine",
        got=reason,
    )
