"""The publisher's side: a TUF repository in a plain folder.

Files are named by version or hash and only added; `timestamp.json` is replaced last. So a copy of
the folder at any moment is a consistent repository, either the old or the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edge.errors import BundleError, UsageError
from firmware_bridge import durable
from firmware_bridge.fleet.trust import key_files
from firmware_bridge.fleet.trust.folder import METADATA
from firmware_bridge.fleet.trust.roles import expiry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


def write(
    repository: Path,
    keys: Path,
    targets: Targets,
    signers: Mapping[str, Sequence[Signer]],
    now: datetime,
    days: Mapping[str, int],
) -> dict[str, datetime]:
    """Sign and write the next version of every online role, the timestamp last.

    Args:
        repository: Folder of the repository.
        keys: Folder of the keys, with every version of the root metadata.
        targets: New content of the repository.
        signers: Maps online roles to their keys.
        now: Wall clock, UTC.
        days: Maps roles to days until expiry.

    Returns:
        Expiry of each role's signature, UTC.
    """
    folder = repository / METADATA
    durable.make_folder(folder)
    for path in root_files(keys):
        if not (folder / path.name).exists():
            durable.write(folder / path.name, path.read_bytes())
    snapshot = latest(repository, Snapshot) or Snapshot()
    timestamp = latest(repository, Timestamp) or Timestamp()
    signed: tuple[Targets | Snapshot | Timestamp, ...] = (targets, snapshot, timestamp)
    first = not (folder / "timestamp.json").exists()
    for part in signed:
        part.version = 1 if first else part.version + 1
        part.expires = expiry(part.type, now, days)
    list_families(repository, targets, snapshot)
    data = sign(targets, signers["targets"])
    durable.write(folder / f"{targets.version}.targets.json", data)
    snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, data, ["sha256"])
    data = sign(snapshot, signers["snapshot"])
    durable.write(folder / f"{snapshot.version}.snapshot.json", data)
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
    durable.write(folder / "timestamp.json", sign(timestamp, signers["timestamp"]))
    root = newest_root(repository, keys)
    return {part.type: part.expires for part in (root, *signed)}


def list_families(repository: Path, targets: Targets, snapshot: Snapshot) -> None:
    """Put the newest valid metadata of each family into a snapshot.

    Raises:
        BundleError: A family's newest metadata are not signed by its keys, or name other bundles.
    """
    delegations = targets.delegations
    for name, role in ((delegations.roles or {}) if delegations else {}).items():
        version = newest_version(repository, name)
        if not version:
            continue
        path = repository / METADATA / f"{version}.{name}.json"
        data = path.read_bytes()
        try:
            document: Metadata[Any] = Metadata.from_bytes(data)
            targets.verify_delegate(name, document.signed_bytes, document.signatures)
            if not isinstance(document.signed, Targets) or document.signed.version != version:
                raise RepositoryError(f"other metadata than version {version} of a targets role")
        except (RepositoryError, ValueError) as error:
            raise BundleError(
                f"{path} cannot be taken over",
                expected=f"metadata signed by the keys of the family {name}",
                got=f"{type(error).__name__}: {error}",
                hint="remove it, or delegate to the family's new keys",
            ) from error
        others = [path for path in document.signed.targets if not role.is_delegated_path(path)]
        if others:
            raise BundleError(f"{path} names bundles of others", got=", ".join(sorted(others)[:8]))
        snapshot.meta[f"{name}.json"] = MetaFile.from_data(version, data, ["sha256"])


def newest_version(repository: Path, name: str) -> int:
    """Return the newest version of a family's metadata in a repository; 0 if there are none."""
    found = (repository / METADATA).glob(f"[0-9]*.{name}.json")
    numbers = [path.name.partition(".")[0] for path in found]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def newest_root(repository: Path, keys: Path) -> Root:
    """Return the newest root of the keys, which must be the repository's or its successor.

    Raises:
        UsageError: The keys belong to a different repository, or are older than this one.
        BundleError: The metadata cannot be read.
    """
    roots = root_files(keys)
    for path in roots:
        there = repository / METADATA / path.name
        if there.exists() and there.read_bytes() != path.read_bytes():
            raise UsageError(
                f"{repository} does not belong to the keys in {keys}",
                hint="choose the folder of keys that it was published with",
                code="other-keys",
            )
    newest = repository / METADATA / f"{int(roots[-1].name.partition('.')[0]) + 1}.root.json"
    if newest.exists():
        raise UsageError(
            f"{keys} is older than {repository}",
            expected=f"its {newest.name}",
            hint="copy it from there",
        )
    return load_metadata(roots[-1], Root)


def root_files(keys: Path) -> list[Path]:
    """Return the root metadata in a folder of keys, the oldest first.

    Raises:
        UsageError: There are none.
    """
    roots = sorted(keys.glob("[0-9]*.root.json"), key=lambda path: int(path.name.partition(".")[0]))
    if not roots:
        raise UsageError(
            f"{keys} holds no root metadata",
            expected="the folder that keygen made",
            hint="create the publisher's keys first",
            code="no-keys",
        )
    return roots


def latest(repository: Path, kind: type[S]) -> S | None:
    """Return the metadata that `timestamp.json` leads to; None if nothing was published.

    Raises:
        BundleError: The metadata cannot be read.
    """
    path = repository / METADATA / "timestamp.json"
    if not path.exists():
        return None
    if kind is not Timestamp:
        version = load_metadata(path, Timestamp).snapshot_meta.version
        path = path.with_name(f"{version}.snapshot.json")
    if kind is Targets:
        version = load_metadata(path, Snapshot).meta["targets.json"].version
        path = path.with_name(f"{version}.targets.json")
    return load_metadata(path, kind)


def load_metadata(path: Path, kind: type[S]) -> S:
    """Read the metadata of a role.

    Raises:
        BundleError: The file cannot be read or holds other metadata.
    """
    try:
        document: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        raise BundleError(
            f"{path} cannot be read", expected=f"{kind.type} metadata", got=str(error)
        ) from error
    if not isinstance(document.signed, kind):
        raise BundleError(f"{path} does not hold {kind.type} metadata", got=document.signed.type)
    return document.signed


def load_signers(
    keys: Path,
    role: str,
    root: Root,
    passphrases: Sequence[bytes] = (),
    pin: Pin | None = None,
) -> list[Signer]:
    """Load the keys of a role that are there; as many as the role needs suffice.

    Args:
        keys: Folder of the keys.
        role: A role.
        root: The root that names the role's keys.
        passphrases: Each key has one of these; none for keys without one.
        pin: Returns the PIN of a token; None where no key is on a token.

    Raises:
        UsageError: Too few keys are there, one is not in the root, or its passphrase or PIN is
            wrong.
        MissingDependencyError: A key is on a token, and the package for PKCS#11 is not installed.
    """
    paths = key_files.key_paths(keys, role) or [key_files.key_path(keys, role)]
    signers, quorum = [], root.roles[role]
    for path in paths:
        signer = key_files.load_any(path, passphrases, pin)
        if signer.public_key.keyid not in quorum.keyids:
            raise UsageError(
                f"{path} is not a {role} key of version {root.version} of the root",
                expected=f"one of its {len(quorum.keyids)} {role} keys",
            )
        signers.append(signer)
    key_ids = {signer.public_key.keyid for signer in signers}
    if len(key_ids) < quorum.threshold:
        raise UsageError(
            f"{keys} has too few {role} keys",
            expected=f"{quorum.threshold} of {len(quorum.keyids)}",
            got=str(len(key_ids)),
            hint="bring the key files of the others into this folder",
        )
    return signers


def sign(signed: S, signers: Sequence[Signer]) -> bytes:
    """Sign metadata and return the bytes to write."""
    document = Metadata(signed)
    for signer in signers:
        document.sign(signer, append=True)
    return document.to_bytes()
