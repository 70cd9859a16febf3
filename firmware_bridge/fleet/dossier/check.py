"""Check the archive of a dossier: its signature first, then every file that the signature covers.

An archive is content of others: it is read by the reader of bundles, which refuses links, names
that leave the archive, overlapping entries and content that unpacks to more than it states.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from edge.bundle.reader import MANIFEST
from edge.bundle.store import open_store
from edge.errors import BundleError
from edge.util.files import sha256
from firmware_bridge.fleet.dossier.record import KIND, RECORD, ROLE, ROOTS, DossierRecord
from firmware_bridge.fleet.trust.signed_target import follow_roots, signed_by

if TYPE_CHECKING:
    from pathlib import Path

    from edge.bundle.store import Store

_LARGEST_RECORD, _LARGEST_ROOT, _MOST_ROOTS = 4 << 20, 512_000, 256
_COPY = "copy the dossier again from where it was made"


class DossierCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a check whose signature was valid.

    Attributes:
        ok: Whether every file is as it was signed.
        record: What the publisher signed.
        keys: Key ids of the signatures.
        files: Path inside the archive -> `ok`, `changed`, `missing` or `unlisted`.
    """

    ok: bool
    record: DossierRecord
    keys: list[str]
    files: dict[str, str]


def check_dossier(path: Path, root: Path, *, digest: str | None = None) -> DossierCheck:
    """Check the signature and every hash of a dossier.

    Args:
        path: The archive, or a folder into which it was unpacked.
        root: Root metadata of a trusted publisher; roots in the archive that follow it count, too.
        digest: Digest of the bundle that the dossier must be of; None for any.

    Raises:
        BundleError: The archive or the root cannot be read, the trusted publisher did not sign it,
            or it is of a different bundle.
        MissingDependencyError: The package that checks signatures is not installed.
    """
    store = _open(path)
    try:
        document = json.loads(store.read(RECORD, _LARGEST_RECORD))
        chain = follow_roots(_anchor(root), _roots(store))
        if not any(signed_by(document, json.loads(r)["signed"], ROLE, KIND) for r in chain):
            raise BundleError(
                f"nobody whom {root} trusts signed {path}",
                expected="a signature of the publisher's targets role",
                got=", ".join(str(one["keyid"]) for one in document["signatures"]) or "none",
            )
        record = msgspec.convert(document["signed"], DossierRecord)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path}: {RECORD} cannot be read", got=f"{type(error).__name__}: {error}", hint=_COPY
        ) from error
    if digest is not None and record.digest != digest:
        raise BundleError(
            f"{path} is the dossier of a different bundle",
            expected=digest,
            got=f"{record.bundle}, {record.digest}",
        )
    files = _states(store, record)
    return DossierCheck(
        ok=all(state == "ok" for state in files.values()),
        record=record,
        keys=[one["keyid"] for one in document["signatures"]],
        files=files,
    )


def refuse_problems(path: Path, check: DossierCheck) -> None:
    """Raise BundleError if a file of a dossier is not as it was signed."""
    if check.ok:
        return
    wrong = [f"{name} ({state})" for name, state in check.files.items() if state != "ok"]
    raise BundleError(
        f"{path} is not as it was signed",
        expected="unchanged files",
        got=", ".join(wrong),
        hint=_COPY,
    )


def _open(path: Path) -> Store:
    if not path.exists():
        raise BundleError(f"{path} does not exist", expected="the archive of a dossier")
    try:
        store = open_store(path)
        if RECORD in store.names():
            return store
    except BundleError as error:
        raise BundleError(
            f"{path} is not the archive of a dossier",
            expected=f"a zip of plain files with {RECORD}",
            got=error.what + (f": {error.got}" if error.got else ""),
            hint=_COPY,
        ) from error
    raise BundleError(
        f"{path} is not the archive of a dossier",
        expected=f"{RECORD} at its top",
        got=f"{len(store.names())} other files",
    )


def _anchor(path: Path) -> str:
    """Read root metadata that must be signed by their own keys."""
    try:
        text = path.read_text()
        document: dict[str, Any] = json.loads(text)
        if signed_by(document, document["signed"], "root"):
            return text
        reason = "metadata without a valid signature of their own root role"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise BundleError(
        f"{path} cannot be trusted", expected="root metadata of a publisher", got=reason
    )


def _roots(store: Store) -> list[str]:
    names = [name for name in store.names() if name.startswith(ROOTS)]
    return [store.read(name, _LARGEST_ROOT).decode() for name in names[:_MOST_ROOTS]]


def _states(store: Store, record: DossierRecord) -> dict[str, str]:
    present = set(store.names()) - {RECORD}
    states = {}
    for name, entry in sorted(record.files.items()):
        if name not in present:
            states[name] = "missing"
            continue
        try:
            data = store.read(name)
        except BundleError:
            states[name] = "changed"
            continue
        states[name] = "ok" if sha256(data) == entry.sha256 else "changed"
        if name == f"bundle/{MANIFEST}" and sha256(data) != record.digest:
            states[name] = "changed"
    return states | dict.fromkeys(sorted(present - record.files.keys()), "unlisted")
