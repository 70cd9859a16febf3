"""Commands of a publisher: make keys, publish a bundle, renew signatures, rotate keys."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
from tuf.api.metadata import Root, TargetFile, Targets

from edge.bundle.reader import Bundle, pack
from edge.errors import AccuracyError, BundleError, UsageError
from firmware_bridge import durable
from firmware_bridge.fleet.trust import families, key_files
from firmware_bridge.fleet.trust import repository as files
from firmware_bridge.fleet.trust.folder import TARGETS
from firmware_bridge.fleet.trust.offer import (
    MAX_VERSION,
    is_target_name,
    make_offer,
    read_offer,
)
from firmware_bridge.fleet.trust.role_keys import new_keys, quorum_for
from firmware_bridge.fleet.trust.roles import DAYS, ONLINE, ROLES, Quorum, expiry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin

_NO_TOKENS: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Published:
    """Result of a publication.

    Attributes:
        target: Name under which devices find it.
        version: Version of the bundle.
        file: The packed bundle in the repository.
        expires: Maps each role to the expiry of its signature, UTC.
    """

    target: str
    version: int
    file: Path
    expires: dict[str, datetime]


def create_keys(
    folder: Path,
    passphrases: Sequence[bytes],
    now: datetime,
    days: Mapping[str, int] = DAYS,
    quorums: Mapping[str, Quorum] = MappingProxyType({}),
    *,
    on_tokens: Mapping[str, Sequence[str]] = _NO_TOKENS,
    pin: Pin | None = None,
) -> Path:
    """Make the keys of the four roles, and the root metadata for devices to trust.

    Args:
        folder: Folder for the keys; move its root keys off the machine afterwards, each to a
            different place.
        passphrases: Passphrase of the root keys, or one for each of them.
        now: Wall clock, UTC.
        days: Maps roles to days until expiry.
        quorums: Maps roles to how many keys they have and need; one by default.
        on_tokens: Maps roles to keys that lie on tokens, `hsm:KEYID?label=LABEL`; no key of these
            roles is made.
        pin: Returns a token's PIN.

    Returns:
        The root metadata, `1.root.json`.

    Raises:
        UsageError: The folder already has keys, a passphrase is empty or missing, or a key on a
            token cannot be used.
        MissingDependencyError: A key is on a token, and the package for PKCS#11 is not installed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists already", expected="a new folder", hint="another DIR")
    root = Root(version=1, expires=expiry("root", now, days), consistent_snapshot=True)
    signers: list[Signer] = []
    for role in ROLES:
        quorum = quorum_for(role, quorums.get(role), on_tokens.get(role, ()), Quorum())
        fresh = new_keys(folder, role, quorum, passphrases, on_tokens.get(role, ()), pin)
        for signer in fresh.values():
            root.add_key(signer.public_key, role)
        signers += fresh.values() if role == "root" else []
        root.roles[role].threshold = quorum.needed
    path = folder / "1.root.json"
    durable.write(path, files.sign(root, signers))
    return path


def publish(
    bundle: Path,
    repository: Path,
    keys: Path,
    now: datetime,
    *,
    target: str | None = None,
    version: int | None = None,
    days: Mapping[str, int] = DAYS,
    pin: Pin | None = None,
) -> Published:
    """Add a bundle to a repository and sign it.

    Args:
        bundle: Folder or `.difom` file of the bundle.
        repository: Folder of the repository; made if it is missing.
        keys: Folder from `create_keys`; the root key is not needed. With the keys of a family
            (`families.create_family`), devices see the bundle once the publisher has signed again.
        now: Wall clock, UTC.
        target: Name in the repository; by default the bundle's.
        version: Version of the bundle; by default the last one of this name plus one.
        days: Maps roles to days until expiry.
        pin: Returns the PIN of a token, if keys are on tokens.

    Raises:
        BundleError: The bundle does not verify, or the repository's metadata cannot be read.
        AccuracyError: The bundle's accuracy gate failed, and it holds no reason to accept that.
        UsageError: A key is missing or does not belong to the repository, or the version is not
        new.
    """
    opened = Bundle.open(bundle)
    _refuse_failed_gate(opened)
    name = f"{target or opened.manifest.name}.difom"
    _refuse_name(name)
    family = families.family_in(keys)
    signers: dict[str, list[Signer]] = {}
    if family is not None:
        targets = families.family_targets(repository, family.name)
        if not fnmatchcase(name, family.pattern):
            raise UsageError(
                f"the family {family.name} does not sign {name}", expected=family.pattern
            )
    else:
        root = files.newest_root(repository, keys)
        signers = {role: files.load_signers(keys, role, root, (), pin) for role in ONLINE}
        targets = files.latest(repository, Targets) or Targets()
    last = read_offer(targets.targets[name].custom, name).version if name in targets.targets else 0
    version = last + 1 if version is None else version
    if version <= last:
        raise UsageError(
            f"{name} is already published with version {last}",
            expected=f"a version from {last + 1}",
        )
    if version > MAX_VERSION:
        raise UsageError(
            f"{name} cannot have this version", expected=f"a version up to {MAX_VERSION}"
        )
    earlier = {path for file in targets.targets.values() for path in file.get_prefixed_paths()}
    with tempfile.TemporaryDirectory() as scratch:
        packed = pack(opened, Path(scratch) / "packed.difom")
        entry = TargetFile.from_file(name, str(packed), ["sha256"])
        entry.unrecognized_fields["custom"] = msgspec.to_builtins(make_offer(opened, version))
        file = repository / TARGETS / entry.get_prefixed_paths()[0]
        durable.make_folder(file.parent)
        part = file.with_name(f".{file.name}.part")
        with packed.open("rb") as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy)
            durable.sync_file(copy)
        durable.move(part, file)
    targets.targets[name] = entry
    if family is not None:
        families.sign_family(repository, keys, family, targets, now, days, pin)
        expires = {family.name: targets.expires}
    else:
        expires = files.write(repository, keys, targets, signers, now, days)
        _prune(repository, targets, earlier)
    return Published(
        target=name.removesuffix(".difom"), version=version, file=file, expires=expires
    )


def _refuse_failed_gate(bundle: Bundle) -> None:
    gate = bundle.manifest.gate
    if gate is not None and gate.verdict == "failed" and not gate.accepted:
        raise AccuracyError(
            f"the accuracy gate of {bundle.path} failed",
            expected="a gate that passed, or the reason why it was accepted",
            got="; ".join(gate.breaches),
            hint="make the bundle again with a reason, which is recorded in it",
            code="gate-not-accepted",
        )


def renew(
    repository: Path,
    keys: Path,
    now: datetime,
    *,
    days: Mapping[str, int] = DAYS,
    pin: Pin | None = None,
) -> dict[str, datetime]:
    """Renew the signatures of a repository before they expire; no bundle changes.

    Args:
        repository: Folder with at least one publication.
        keys: Folder of the keys; the root key is not needed.
        now: Wall clock, UTC.
        days: Maps roles to days until expiry.
        pin: Returns the PIN of a token, if keys are on tokens.

    Returns:
        Expiry of each role's signature, UTC.

    Raises:
        BundleError: The repository's metadata cannot be read.
        UsageError: A key is missing or does not belong to the repository.
    """
    root = files.newest_root(repository, keys)
    targets = files.latest(repository, Targets)
    if targets is None:
        raise BundleError(
            f"{repository} holds no publication",
            hint="publish a bundle there first",
            code="nothing-published",
        )
    return files.write(
        repository,
        keys,
        targets,
        {role: files.load_signers(keys, role, root, (), pin) for role in ONLINE},
        now,
        days,
    )


def rotate(
    repository: Path,
    keys: Path,
    roles: Sequence[str],
    passphrases: Sequence[bytes],
    now: datetime,
    *,
    new_passphrases: Sequence[bytes] = (),
    quorums: Mapping[str, Quorum] = MappingProxyType({}),
    days: Mapping[str, int] = DAYS,
    on_tokens: Mapping[str, Sequence[str]] = _NO_TOKENS,
    pin: Pin | None = None,
) -> Path:
    """Sign a new root, with new keys for some roles, and re-sign everything else.

    Args:
        repository: Folder with at least one publication.
        keys: Folder of the keys of all roles, and of as many root keys as are needed; a replaced
            key is kept there as `NAME.VERSION.pem`.
        roles: Roles that get new keys; without any, only the root's expiry is renewed.
        passphrases: Each root key has one of these.
        now: Wall clock, UTC.
        new_passphrases: Passphrase of the new root keys, or one for each; the first of
            `passphrases` by default.
        quorums: Maps roles to how many keys they have and need from now on; as before by default.
        days: Maps roles to days until expiry.
        on_tokens: Maps roles of `roles` to their new keys on tokens, `hsm:KEYID?label=LABEL`.
        pin: Returns the PIN of a token, if keys are on tokens.

    Returns:
        The new root metadata. Devices need no manual update: the new root follows from the one that
            they trust.

    Raises:
        BundleError: The repository's metadata cannot be read.
        UsageError: A key is missing or does not belong to the repository, or the passphrase is
        wrong.
    """
    root = files.newest_root(repository, keys)
    signers = files.load_signers(keys, "root", root, passphrases, pin)
    if files.latest(repository, Targets) is None:
        raise BundleError(f"{repository} holds no publication", hint="publish first")
    version, mark = root.version + 1, f".{root.version + 1}.new."
    fresh: list[Path] = []
    replaced: list[Path] = []
    for left in keys.glob(f"{mark}*"):
        left.unlink()
    for role in dict.fromkeys(roles):
        before = Quorum(root.roles[role].threshold, len(root.roles[role].keyids))
        uris = on_tokens.get(role, ())
        quorum = quorum_for(role, quorums.get(role), uris, before)
        replaced += key_files.key_paths(keys, role)
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        secrets = new_passphrases or passphrases[:1]
        made = new_keys(keys, role, quorum, secrets, uris, pin, mark)
        for signer in made.values():
            root.add_key(signer.public_key, role)
        fresh += made
        signers += made.values() if role == "root" else []
        root.roles[role].threshold = quorum.needed
    root.version, root.expires = version, expiry("root", now, days)
    path = keys / f"{version}.root.json"
    encoded = files.sign(root, signers)
    for old in replaced:
        old.rename(key_files.retired(old, version - 1))
    for new in fresh:
        durable.move(new, new.with_name(new.name.removeprefix(mark)))
    durable.write(path, encoded)
    renew(repository, keys, now, days=days, pin=pin)
    return path


def _refuse_name(name: str) -> None:
    if not is_target_name(name):
        raise UsageError(
            f"invalid name for a repository: {name!r}",
            expected="ASCII letters, digits, dot, dash, underscore",
        )


def _prune(repository: Path, targets: Targets, earlier: set[str]) -> None:
    """Remove bundles that neither this publication, the previous one, nor a family names."""
    listed = earlier | {
        path
        for held in (targets, *families.recent_targets(repository, targets))
        for file in held.targets.values()
        for path in file.get_prefixed_paths()
    }
    for path in (repository / TARGETS).glob("*.difom"):
        if path.name not in listed:
            durable.remove(path)
