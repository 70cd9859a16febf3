"""The signed list of a dossier's files, `dossier.json`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

RECORD = "dossier.json"
KIND: Final = "edge-difom-dossier"
"""`_type` of the signed part: no other signature of the same key can stand for it."""

FORMAT: Final = 1
ROLE = "targets"
"""Role of the publisher whose key signs; it signs bundles, too."""

ROOTS = "trust/"
"""Folder of the publisher's root metadata, by which a changed key is followed."""


class FileHash(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SHA-256 and size in bytes of a file."""

    sha256: str
    size: int


class DossierRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a publisher signed about a dossier.

    Attributes:
        kind: `KIND`.
        format: `FORMAT`.
        bundle: Name of the bundle.
        digest: SHA-256 of its manifest.
        created: Time of the dossier, UTC, ISO 8601.
        version: Version of the software that made it.
        commit: Git commit of that software; empty outside a checkout.
        missing: Evidence that a reader would expect and that is not there.
        files: Path inside the archive -> hash and size of every file but `RECORD`.
    """

    kind: Literal["edge-difom-dossier"] = msgspec.field(name="_type", default=KIND)
    format: Literal[1] = FORMAT
    bundle: str
    digest: str
    created: str
    version: str
    commit: str
    missing: list[str]
    files: dict[str, FileHash]
