"""Families of bundles: a publisher lets others sign the bundles whose names begin with a word.

A family NAME has keys of its own and signs `NAME-*` alone (a terminating delegation of the targets
role in TUF, one level deep). Its owner makes keys and publishes into a copy of the repository; what
was published becomes visible when the publisher signs the repository again, because snapshot and
timestamp are the publisher's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from edge.errors import UsageError
from firmware_bridge import durable
from firmware_bridge.fleet.trust import key_files
from firmware_bridge.fleet.trust import repository as files
from firmware_bridge.fleet.trust.folder import METADATA
from firmware_bridge.fleet.trust.offer import is_target_name
from firmware_bridge.fleet.trust.role_keys import new_keys, quorum_for
from firmware_bridge.fleet.trust.roles import DAYS, ONLINE, ROLES, Quorum, expiry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin

SUFFIX = ".family.json"


class FamilyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public part of a family, which its owner hands to the publisher.

    Attributes:
        name: Name of the family.
        threshold: How many of its keys must sign.
        keys: Key id -> public key as in TUF metadata.
    """

    name: str
    threshold: int
    keys: dict[str, dict[str, Any]]

    @property
    def pattern(self) -> str:
        """Which targets it signs."""
        return f"{self.name}-*.difom"


def create_family(
    folder: Path,
    name: str,
    *,
    quorum: Quorum | None = None,
    uris: Sequence[str] = (),
    pin: Pin | None = None,
) -> Path:
    """Make the keys of a family.

    Args:
        folder: New folder for them.
        name: Name of the family.
        quorum: How many keys it has and needs; one by default.
        uris: Its keys on tokens; none to make files.
        pin: Returns a token's PIN.

    Returns:
        The record for the publisher, `NAME.family.json`.

    Raises:
        UsageError: The folder exists, the name cannot be used, or a token cannot.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists already", expected="a new folder", hint="another DIR")
    if not is_target_name(name) or name in ROLES or "." in name:
        raise UsageError(
            f"invalid name of a family: {name!r}",
            expected="ASCII letters, digits, dash, underscore, and no role of the repository",
        )
    chosen = quorum_for(name, quorum, uris, Quorum())
    made = new_keys(folder, name, chosen, (), uris, pin)
    keys: dict[str, dict[str, Any]] = {}
    for signer in made.values():
        public = signer.public_key
        keys[public.keyid] = public.to_dict()
    record = FamilyRecord(name=name, threshold=chosen.needed, keys=keys)
    path = folder / f"{name}{SUFFIX}"
    durable.write(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return path


def family_in(folder: Path) -> FamilyRecord | None:
    """Return the family whose keys a folder holds; None if they are a publisher's."""
    found = sorted(folder.glob(f"*{SUFFIX}"))
    return read_family(found[0]) if found and not list(folder.glob("*.root.json")) else None


def read_family(path: Path) -> FamilyRecord:
    """Read the record of a family.

    Raises:
        UsageError: The file is none.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=FamilyRecord)
        for keyid, key in record.keys.items():
            SSlibKey.from_dict(keyid, dict(key))
    except (OSError, msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the record of a family", got=str(error)) from error
    if not is_target_name(record.name) or not 1 <= record.threshold <= len(record.keys):
        raise UsageError(f"{path} is not the record of a family", got=ascii(record.name))
    return record


def sign_delegation(
    repository: Path,
    keys: Path,
    now: datetime,
    *,
    family: FamilyRecord | None = None,
    revoked: str = "",
    days: Mapping[str, int] = DAYS,
    pin: Pin | None = None,
) -> dict[str, datetime]:
    """Let a family sign its bundles, or nothing any more, and sign the repository.

    Args:
        repository: Folder of the repository; made if it is missing.
        keys: Folder of the publisher's keys; the root key is not needed.
        now: Wall clock, UTC.
        family: The family; its earlier keys sign nothing any more.
        revoked: Name of a family that signs nothing any more.
        days: Maps roles to days until expiry.
        pin: Returns the PIN of a token, if keys are on tokens.

    Returns:
        Expiry of each role's signature, UTC.

    Raises:
        BundleError: The repository's metadata cannot be read.
        UsageError: A key is missing or does not belong to the repository.
    """
    root = files.newest_root(repository, keys)
    signers = {role: files.load_signers(keys, role, root, (), pin) for role in ONLINE}
    targets = files.latest(repository, Targets) or Targets()
    if family is not None:
        delegate(targets, family)
    revoke(targets, revoked)
    return files.write(repository, keys, targets, signers, now, days)


def delegate(targets: Targets, record: FamilyRecord) -> None:
    """Let a family sign its bundles from now on, with these keys and no earlier ones."""
    revoke(targets, record.name)
    if targets.delegations is None or targets.delegations.roles is None:
        targets.delegations = Delegations({}, {})
    assert targets.delegations.roles is not None, "made above"
    role = DelegatedRole(record.name, [], record.threshold, True, paths=[record.pattern])
    targets.delegations.roles[record.name] = role
    for keyid, key in record.keys.items():
        targets.add_key(SSlibKey.from_dict(keyid, dict(key)), record.name)


def revoke(targets: Targets, name: str) -> None:
    """Let a family sign nothing any more."""
    delegations = targets.delegations
    if delegations is None or not delegations.roles or name not in delegations.roles:
        return
    for keyid in list(delegations.roles[name].keyids):
        targets.revoke_key(keyid, name)
    del delegations.roles[name]


def sign_family(
    repository: Path,
    folder: Path,
    record: FamilyRecord,
    targets: Targets,
    now: datetime,
    days: Mapping[str, int] = DAYS,
    pin: Pin | None = None,
) -> Path:
    """Write the next version of a family's metadata.

    Raises:
        UsageError: Too few keys of the family are in the folder.
    """
    signers: list[Signer] = [
        key_files.load_any(path, (), pin) for path in key_files.key_paths(folder, record.name)
    ]
    signers = [signer for signer in signers if signer.public_key.keyid in record.keys]
    if len(signers) < record.threshold:
        raise UsageError(
            f"{folder} has too few keys of the family {record.name}",
            expected=str(record.threshold),
            got=str(len(signers)),
        )
    targets.version = files.newest_version(repository, record.name) + 1
    targets.expires = expiry("targets", now, days)
    path = repository / METADATA / f"{targets.version}.{record.name}.json"
    durable.write(path, files.sign(targets, signers))
    return path


def family_targets(repository: Path, name: str) -> Targets:
    """Return a family's newest metadata; empty ones if there are none.

    Raises:
        BundleError: They cannot be read.
    """
    version = files.newest_version(repository, name)
    if not version:
        return Targets()
    return files.load_metadata(repository / METADATA / f"{version}.{name}.json", Targets)


def recent_targets(repository: Path, targets: Targets) -> list[Targets]:
    """Return the two newest metadata of each family: what devices see, and what waits for it."""
    found = []
    delegations = targets.delegations
    for name in (delegations.roles or {}) if delegations else {}:
        newest = files.newest_version(repository, name)
        for version in (newest - 1, newest):
            path = repository / METADATA / f"{version}.{name}.json"
            if path.exists():
                found.append(files.load_metadata(path, Targets))
    return found
