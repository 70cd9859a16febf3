"""Write the attestations of a bundle, and check those that came with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.bundle.store import SUFFIX
from edge.errors import BundleError, UsageError
from edge.util.files import refuse_existing
from firmware_bridge import durable
from firmware_bridge.fleet.attest.envelope import read_statement, sign_statement
from firmware_bridge.fleet.attest.keys import load_key
from firmware_bridge.fleet.attest.statements import (
    MODEL_SIGNATURE,
    PROVENANCE,
    describe_build,
    refuse_unlike,
    root_digest,
    sign_files,
    subjects,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.trust.tokens import Pin

KINDS = {MODEL_SIGNATURE: "model signature", PROVENANCE: "provenance"}
"""Predicate type -> what it is called."""

_SERIALIZATIONS = {"method": "files", "hash_type": "sha256"}


def attest(
    bundle: Bundle, out: Path, keys: Path, *, pin: Pin | None = None, force: bool = False
) -> list[Path]:
    """Sign all files of a bundle, and how it came about.

    Args:
        bundle: An open bundle.
        out: Folder for the two files; it must not be the bundle itself.
        keys: Folder of the publisher's keys, with that of attestations.
        pin: Returns a token's PIN.
        force: Replace existing files.

    Returns:
        `NAME.model.sigstore.json` and `NAME.provenance.sigstore.json`.

    Raises:
        UsageError: A file exists, `out` is inside the bundle, or the key cannot be used.
        BundleError: The bundle does not verify.
    """
    base, place = bundle.path.resolve(), out.resolve()
    if bundle.path.is_dir() and (place == base or base in place.parents):
        raise UsageError(
            f"{out} is inside the bundle", expected="a folder beside it: a bundle takes no files"
        )
    name = bundle.path.name.removesuffix(SUFFIX)
    paths = [out / f"{name}.{kind}.sigstore.json" for kind in ("model", "provenance")]
    for path in paths:
        refuse_existing(path, force=force)
    statements = [sign_files(bundle), describe_build(bundle)]
    signer, public = load_key(keys, pin)
    encoded = [sign_statement(statement, signer, public) for statement in statements]
    out.mkdir(parents=True, exist_ok=True)
    for path, data in zip(paths, encoded, strict=True):
        durable.write(path, data)
    return paths


def check_attestations(
    bundle: Bundle, attestations: Sequence[Path], public: Path
) -> dict[str, str]:
    """Check that attestations are of this bundle and that a key signed them.

    Args:
        bundle: An open bundle.
        attestations: Files of `attest`, or of another implementation.
        public: Public key, PEM.

    Returns:
        Path of each -> `model signature` or `provenance`.

    Raises:
        UsageError: The public key cannot be used.
        BundleError: An attestation cannot be read, has a wrong signature, or is of another bundle.
    """
    try:
        pem = public.read_bytes()
    except OSError as error:
        raise UsageError(f"{public} cannot be read", got=error.strerror or str(error)) from error
    refuse_unlike(bundle)
    found = {}
    for path in attestations:
        statement = read_statement(path, pem)
        kind = statement["predicateType"]
        try:
            if kind == MODEL_SIGNATURE:
                problem = _wrong_files(bundle, statement)
            elif kind == PROVENANCE:
                problem = _wrong_subject(bundle, statement)
            else:
                problem = f"a statement of another kind: {kind!a}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            raise BundleError(
                f"{path} is not of {bundle.path}",
                expected=f"a model signature or provenance of the bundle {bundle.digest}",
                got=problem[:500],
            )
        found[str(path)] = KINDS[kind]
    return found


def _wrong_files(bundle: Bundle, statement: dict[str, Any]) -> str:
    """Return how the files of a model signature differ from those of a bundle."""
    predicate = statement["predicate"]
    serialization, resources = predicate["serialization"], predicate["resources"]
    for name, needed in _SERIALIZATIONS.items():
        if serialization[name] != needed:
            return f"the serialization {name}={serialization[name]!a}"
    (subject,) = statement["subject"]
    if subject["digest"]["sha256"] != root_digest(resources):
        return "a digest of the whole that its files do not have"
    signed = {item["name"]: item["digest"] for item in resources if item["algorithm"] == "sha256"}
    if len(signed) != len(resources):
        return "a file twice, or with another kind of digest"
    held = bundle.file_digests()
    differing = sorted({name for name, _ in signed.items() ^ held.items()})
    return f"different files: {', '.join(map(ascii, differing[:8]))}" if differing else ""


def _wrong_subject(bundle: Bundle, statement: dict[str, Any]) -> str:
    """Return what a statement is of, if it is not of a bundle."""
    if statement["subject"] == subjects(bundle):
        return ""
    return f"the subject {statement['subject']!a}"
