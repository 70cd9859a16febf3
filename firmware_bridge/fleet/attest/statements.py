"""What is said of a bundle: a signature of all its files, and how it came about.

The first is OpenSSF model signing (OMS, predicate `https://model_signing/signature/v1.0`), which
`model_signing` checks on the unpacked bundle. The second is SLSA provenance v1, with what the
bundle's manifest records; the data of a training are named by this project's own digest of a data
set (`distill.data.digests`), which is no SHA-256 of one file.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from edge.errors import BundleError
from firmware_bridge.fleet.attest.envelope import STATEMENT_TYPE

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle

MODEL_SIGNATURE = "https://model_signing/signature/v1.0"
PROVENANCE = "https://slsa.dev/provenance/v1"

BUILD_TYPE = "urn:edge-difom:bundle-make:v1"
"""`edge-difom bundle make`: external parameters are student, teachers, recipe and seed."""

BUILDER = "urn:edge-difom:publisher"
"""A person's or company's own machine: nothing is claimed of its isolation (SLSA build level 1)."""

DATA_DIGEST = "edgeDifomData1"
"""Name of the digest of a data set (`distill.data.digests.data_digest`)."""

_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [],
}


def sign_files(bundle: Bundle) -> dict[str, Any]:
    """Return the statement that lists all files of a bundle with their hashes.

    Raises:
        BundleError: A file is changed, missing or not listed.
    """
    refuse_unlike(bundle)
    digests = bundle.file_digests()
    names = sorted(digests, key=PurePosixPath)
    resources = [{"name": name, "algorithm": "sha256", "digest": digests[name]} for name in names]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": bundle.manifest.name, "digest": {"sha256": root_digest(resources)}}],
        "predicateType": MODEL_SIGNATURE,
        "predicate": {"serialization": _SERIALIZATION, "resources": resources},
    }


def root_digest(resources: list[dict[str, str]]) -> str:
    """Return the SHA-256 over the digests of all files in their order, as OMS defines it."""
    whole = hashlib.sha256()
    for resource in resources:
        whole.update(bytes.fromhex(resource["digest"]))
    return whole.hexdigest()


def describe_build(bundle: Bundle) -> dict[str, Any]:
    """Return the statement of how a bundle was trained and built.

    Raises:
        BundleError: A file is changed, missing or not listed.
    """
    refuse_unlike(bundle)
    origin, gate = bundle.manifest.provenance, bundle.manifest.gate
    data = [
        {"name": name, "digest": {DATA_DIGEST: digest}}
        for name, digest in sorted(origin.data.items())
    ]
    packages = [
        {"uri": f"pkg:pypi/{name}@{version}", "name": name}
        for name, version in sorted(origin.versions.items())
        if name not in ("python", "machine")
    ]
    # A timestamp is one of RFC 3339; a manifest may name a day.
    finished = {"finishedOn": origin.created} if origin.created.endswith("Z") else {}
    cards = [
        {"name": name, "digest": {"sha256": digest}}
        for name, digest in sorted(bundle.manifest.files.items())
        if name.endswith(".md")
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(bundle),
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "student": origin.student,
                    "teachers": origin.teachers,
                    "recipe": origin.recipe,
                    "seed": origin.seed,
                },
                "internalParameters": {
                    "python": origin.versions.get("python", ""),
                    "machine": origin.versions.get("machine", ""),
                    "gate": None if gate is None else gate.verdict,
                },
                "resolvedDependencies": data + packages,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"edge-difom": origin.versions.get("edge-difom", "")},
                },
                "metadata": {"invocationId": bundle.digest} | finished,
                "byproducts": cards,
            },
        },
    }


def subjects(bundle: Bundle) -> list[dict[str, Any]]:
    """Return what names a bundle: its manifest, which lists the hashes of all other files."""
    return [{"name": "manifest.json", "digest": {"sha256": bundle.digest}}]


def refuse_unlike(bundle: Bundle) -> None:
    """Raise BundleError unless the bundle consists of the files of its manifest, unchanged."""
    wrong = [f"{name} ({state})" for name, state in bundle.verify_hashes().items() if state != "ok"]
    if wrong:
        raise BundleError(
            f"{bundle.path} is not as its manifest says",
            expected="unchanged files, and no others",
            got=", ".join(wrong[:8]),
        )
