"""The TUF client workflow of a device: from a trusted root to the signed list of bundles.

The steps are those of section 5 of the specification (1.0.33), with the metadata, signatures,
thresholds, lengths and hashes of python-tuf. Its `Updater` is not used, because it reads the wall
clock, writes file by file without flushing, and tries a network socket at import. Delegations are
followed one level deep, from the targets role to a family of bundles.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge.errors import BundleError
from firmware_bridge.fleet.trust.offer import is_target_name
from firmware_bridge.fleet.trust.trust_store import Trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuf.api.metadata import TargetFile

    Read = Callable[[str, int], bytes | None]
    """Maps name and size limit of a metadata file to its bytes; None if the file is missing."""

    Keep = Callable[[Trusted], None]
    """Stores trusted metadata; they must survive a power cut after the return."""

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)

LARGEST = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000, "targets": 5_000_000}
"""Size limits of metadata in bytes, the same as in python-tuf."""

_ROTATIONS = 256


def first_trust(data: bytes) -> Trusted:
    """Trust a root that was delivered by hand.

    Args:
        data: Root metadata; an old version leads to the newest through its successors.

    Raises:
        BundleError: The data are not root metadata, or not signed by their own keys.
    """
    with _refusing("root.json"):
        document = _decode(Root, data)
        document.signed.verify_delegate(Root.type, document.signed_bytes, document.signatures)
    return Trusted(root=data.decode())


def refresh(read: Read, trusted: Trusted, now: datetime, keep: Keep) -> tuple[Trusted, Targets]:
    """Update trusted metadata from a repository.

    Each file is kept as soon as it is verified, whatever happens to the next one: a revoked key
    stays revoked although the repository is incomplete or expired (sections 5.3.8, 5.4.5, 5.5.7).

    Args:
        read: Reads the repository's metadata.
        trusted: Metadata trusted so far.
        now: Wall clock, UTC.
        keep: Stores newly trusted metadata; called only with metadata that changed.

    Returns:
        Newly trusted metadata, and the repository's bundles.

    Raises:
        BundleError: The metadata are not signed by the known keys, older than those seen, expired,
            or damaged.
    """
    now = max(now, datetime.fromtimestamp(trusted.seen, timezone.utc))
    root, trusted = _newest_root(read, trusted, keep)
    _refuse_expired(root, now)

    name = "timestamp.json"
    data = _read(read, name, LARGEST["timestamp"])
    earlier = _still_trusted(Timestamp, trusted.timestamp, root)
    with _refusing(name):
        timestamp = _verified(Timestamp, data, root)
        if earlier is not None:
            _refuse_older(name, timestamp.version, earlier.version)
            _refuse_older(
                "snapshot.json", timestamp.snapshot_meta.version, earlier.snapshot_meta.version
            )
            if timestamp.version == earlier.version:
                # Of two different files with one version, the first one seen stays valid.
                assert trusted.timestamp is not None
                timestamp, data = earlier, trusted.timestamp.encode()
    _refuse_expired(timestamp, now)
    trusted = _store_changes(keep, trusted, timestamp=data.decode())

    meta = timestamp.snapshot_meta
    name = f"{meta.version}.snapshot.json"
    snapshot_data = _read(read, name, meta.length or LARGEST["snapshot"])
    before = _still_trusted(Snapshot, trusted.snapshot, root)
    with _refusing(name):
        meta.verify_length_and_hashes(snapshot_data)
        snapshot = _verified(Snapshot, snapshot_data, root)
        _refuse_other(snapshot.version, meta.version)
        for listed, file in before.meta.items() if before else ():
            if listed not in snapshot.meta:
                raise RepositoryError(f"{listed} is no longer listed")
            _refuse_older(listed, snapshot.meta[listed].version, file.version)
    _refuse_expired(snapshot, now)
    trusted = _store_changes(keep, trusted, snapshot=snapshot_data.decode())

    with _refusing(name):
        meta = snapshot.meta["targets.json"]
    name = f"{meta.version}.targets.json"
    targets_data = _read(read, name, meta.length or LARGEST["targets"])
    with _refusing(name):
        meta.verify_length_and_hashes(targets_data)
        targets = _verified(Targets, targets_data, root)
        _refuse_other(targets.version, meta.version)
    _refuse_expired(targets, now)
    return _store_changes(keep, trusted, seen=int(now.timestamp())), targets


class Family(NamedTuple):
    """Verified metadata of a family of bundles.

    Attributes:
        name: Name of the family's role.
        targets: Its bundles, only those that it may sign.
        metadata: Its metadata as they were read.
    """

    name: str
    targets: dict[str, TargetFile]
    metadata: bytes


def read_families(
    read: Read, trusted: Trusted, targets: Targets, now: datetime, name: str | None = None
) -> Iterator[Family]:
    """Yield the families to which the targets role delegates, in their order (section 5.6.7).

    Args:
        read: Reads the repository's metadata.
        trusted: Metadata that `refresh` returned.
        targets: What `refresh` returned with them.
        now: Wall clock, UTC.
        name: A target; families that may not sign it are left out. None for all families.

    Raises:
        BundleError: A family's metadata are not signed by its keys, other than the snapshot says,
            expired, or damaged.
    """
    now = max(now, datetime.fromtimestamp(trusted.seen, timezone.utc))
    assert trusted.snapshot is not None, "as refresh returns it"
    with _refusing("snapshot.json"):
        listed = _decode(Snapshot, trusted.snapshot.encode()).signed.meta
    delegations = targets.delegations
    for family, role in ((delegations.roles or {}) if delegations else {}).items():
        if name is not None and not role.is_delegated_path(name):
            continue
        meta = listed.get(f"{family}.json")
        if meta is None:
            continue  # its owner has published nothing yet
        if not is_target_name(family):
            raise BundleError(f"{family!a} cannot be the name of a family")
        file = f"{meta.version}.{family}.json"
        data = _read(read, file, meta.length or LARGEST["targets"])
        with _refusing(file):
            meta.verify_length_and_hashes(data)
            document = _decode(Targets, data)
            targets.verify_delegate(family, document.signed_bytes, document.signatures)
            _refuse_other(document.signed.version, meta.version)
        _refuse_expired(document.signed, now)
        held = {
            path: file
            for path, file in document.signed.targets.items()
            if role.is_delegated_path(path)
        }
        yield Family(family, held, data)


def _store_changes(keep: Keep, trusted: Trusted, **changes: str | int) -> Trusted:
    """Return trusted metadata with changes, stored if there are any."""
    changed = msgspec.structs.replace(trusted, **changes)
    if changed != trusted:
        keep(changed)
    return changed


def _newest_root(read: Read, trusted: Trusted, keep: Keep) -> tuple[Root, Trusted]:
    """Follow the successors of a root; each is signed by its predecessor's keys and its own."""
    with _refusing("the trusted root"):
        root = _decode(Root, trusted.root.encode()).signed
    for _ in range(_ROTATIONS):
        name = f"{root.version + 1}.root.json"
        data = read(name, LARGEST["root"])
        if data is None:
            break
        with _refusing(name):
            document = _decode(Root, data)
            _refuse_other(document.signed.version, root.version + 1)
            for keys in (root, document.signed):
                keys.verify_delegate(Root.type, document.signed_bytes, document.signatures)
        root, trusted = document.signed, _store_changes(keep, trusted, root=data.decode())
    if not root.consistent_snapshot:
        raise BundleError(
            "the repository has no consistent snapshots", expected="one of `bundle publish`"
        )
    return root, trusted


def _decode(kind: type[S], data: bytes) -> Metadata[S]:
    document: Metadata[Any] = Metadata.from_bytes(data)
    if not isinstance(document.signed, kind):
        raise RepositoryError(f"it holds {document.signed.type} metadata")
    return document


def _verified(kind: type[S], data: bytes, root: Root) -> S:
    document = _decode(kind, data)
    root.verify_delegate(kind.type, document.signed_bytes, document.signatures)
    return document.signed


def _still_trusted(kind: type[S], text: str | None, root: Root) -> S | None:
    """Return the earlier metadata unless the root changed its keys since (section 5.3.11)."""
    try:
        return _verified(kind, text.encode(), root) if text is not None else None
    except (RepositoryError, DeserializationError):
        return None


def _read(read: Read, name: str, largest: int) -> bytes:
    data = read(name, largest)
    if data is None:
        raise BundleError(
            f"the repository has no {name}",
            expected="a repository as it was published, copied whole",
        )
    return data


def _refuse_expired(signed: Signed, now: datetime) -> None:
    if signed.is_expired(now):
        raise BundleError(
            f"{signed.type}.json expired",
            expected=f"the device's clock before {signed.expires:%Y-%m-%d %H:%M} UTC",
            got=f"{now:%Y-%m-%d %H:%M} UTC",
            hint="publish again, or set the device's clock; what is installed keeps running",
        )


def _refuse_older(name: str, version: int, earlier: int) -> None:
    if version < earlier:
        raise BundleError(
            f"{name} is older than what this device has seen",
            expected=f"version {earlier} or later",
            got=f"version {version}",
            hint="copy the latest published repository",
        )


def _refuse_other(version: int, expected: int) -> None:
    if version != expected:
        raise RepositoryError(f"version {version} instead of version {expected}")


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Convert errors in metadata to one error that names the file."""
    try:
        yield
    except (RepositoryError, DeserializationError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{name} cannot be trusted",
            expected="metadata signed by the keys of the root that this device trusts",
            got=f"{type(error).__name__}: {error}",
            hint="copy the repository as it was published, or trust its publisher",
            code="untrusted-metadata",
        ) from error
