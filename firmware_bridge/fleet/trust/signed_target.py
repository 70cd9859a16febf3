"""The signed description of an installed bundle, checked at every start without importing TUF.

python-tuf takes half a second to import, so a start of the device checks the signatures itself, by
the same rules: canonical JSON, distinct keys, the role's threshold. Expiry does not matter here; it
only prevents an installation.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import BundleError, MissingDependencyError
from edge.util.extras import missing
from firmware_bridge.fleet.trust.offer import read_offer

if TYPE_CHECKING:
    from collections.abc import Sequence

_ED25519 = "ed25519"


class SignedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher signed about a bundle.

    Attributes:
        sha256: SHA-256 of the packed bundle.
        size: Size of the packed bundle in bytes.
        version: Its version.
        manifest: SHA-256 of its manifest.
    """

    sha256: str
    size: int
    version: int
    manifest: str


def read_signed_target(metadata: bytes, name: str, roots: Sequence[str]) -> SignedTarget:
    """Return what the targets role of a trusted root signed about a bundle.

    Args:
        metadata: Metadata of the targets role, as published, or what `join_family` made.
        name: Name of the bundle in the repository.
        roots: Trusted root metadata, the newest first; one whose targets role signed is enough.

    Raises:
        BundleError: The metadata are damaged, no trusted root's targets role signed them, or they
            do not name the bundle.
        MissingDependencyError: The package that checks signatures is not installed.
    """
    try:
        document = json.loads(metadata)
        family = document.get("family")
        top = document if family is None else document["targets"]
        trusted = any(signed_by(top, json.loads(root)["signed"], "targets") for root in roots)
        if family is not None:
            document = document["delegated"]
            trusted = trusted and _delegated(document, top["signed"], family, f"{name}.difom")
        if not trusted:
            raise BundleError(f"nobody whom this device trusts signed {name}")
        entry = document["signed"]["targets"][f"{name}.difom"]
        offer = read_offer(entry["custom"], name)
        return msgspec.convert(
            {
                "sha256": entry["hashes"]["sha256"],
                "size": entry["length"],
                "version": offer.version,
                "manifest": offer.manifest,
            },
            SignedTarget,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"the signed description of {name} cannot be read",
            got=f"{type(error).__name__}: {error}",
        ) from error


def join_family(targets: bytes, family: str, delegated: bytes) -> bytes:
    """Return one document of the metadata of a targets role and of a family that it names.

    Raises:
        BundleError: The metadata cannot be read.
    """
    try:
        parts = {"targets": json.loads(targets), "delegated": json.loads(delegated)}
        return json.dumps({"family": family, **parts}).encode()
    except (ValueError, RecursionError) as error:
        raise BundleError(f"the metadata of {family} cannot be read", got=str(error)) from error


def _delegated(document: dict[str, Any], top: dict[str, Any], family: str, target: str) -> bool:
    """Return whether a family, which the targets role lets sign a target, signed a document."""
    delegations = top["delegations"]
    (role,) = [role for role in delegations["roles"] if role["name"] == family]
    if not any(fnmatchcase(target, pattern) for pattern in role["paths"]):
        return False
    keys = {"_type": "root", "keys": delegations["keys"], "roles": {family: role}}
    return signed_by(document, keys, family, "targets")


def follow_roots(anchor: str, roots: Sequence[str]) -> list[str]:
    """Return the roots that an anchor leads to, the newest first and the anchor last.

    Args:
        anchor: Root metadata that only the machine's administrator can write.
        roots: Root metadata that may follow it, in any order.

    Raises:
        BundleError: A root cannot be read.
        MissingDependencyError: The package that checks signatures is not installed.
    """
    try:
        chain = [anchor]
        waiting = {json.loads(root)["signed"]["version"]: root for root in roots}
        while True:
            newest = json.loads(chain[0])["signed"]
            following = waiting.get(newest["version"] + 1)
            if following is None:
                return chain
            document = json.loads(following)
            for keys in (newest, document["signed"]):
                if not signed_by(document, keys, "root"):
                    return chain
            chain.insert(0, following)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            "the trusted roots cannot be read", got=f"{type(error).__name__}: {error}"
        ) from error


def signed_by(
    document: dict[str, Any], root: dict[str, Any], role: str, kind: str | None = None
) -> bool:
    """Return whether a role of a root signed a document with enough of its keys.

    Args:
        document: `signed` and its `signatures`, as in TUF metadata.
        root: The signed part of root metadata.
        role: Name of the role.
        kind: `_type` of the document; None for that of the role's own metadata.

    Raises:
        MissingDependencyError: The package that checks signatures is not installed.
        KeyError: The document or the root lacks a field; ValueError and TypeError likewise.
    """
    try:
        from securesystemslib.formats import encode_canonical
    except ModuleNotFoundError as error:
        raise missing(error) or error from error
    signed = document["signed"]
    if signed["_type"] != (kind or role) or root["_type"] != "root":
        return False
    content = encode_canonical(signed)
    needed = root["roles"][role]["threshold"]
    if not isinstance(content, str) or needed < 1:
        return False
    signatures = {item["keyid"]: item["sig"] for item in document["signatures"]}
    valid = [
        keyid
        for keyid in set(root["roles"][role]["keyids"])
        if keyid in signatures
        and _verifies(
            keyid, root["keys"][keyid], bytes.fromhex(signatures[keyid]), content.encode()
        )
    ]
    return len(valid) >= int(needed)


def _verifies(keyid: str, key: dict[str, Any], signature: bytes, content: bytes) -> bool:
    try:
        if key["scheme"] != _ED25519:
            return _verifies_slowly(keyid, key, signature, content)
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as error:
        raise missing(error) or MissingDependencyError(str(error)) from error
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _verifies_slowly(keyid: str, key: dict[str, Any], signature: bytes, content: bytes) -> bool:
    """Check a signature of any scheme; the import takes a third of a second."""
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Key, Signature

    try:
        # `from_dict` takes its argument apart.
        Key.from_dict(keyid, dict(key)).verify_signature(Signature(keyid, signature.hex()), content)
    except UnverifiedSignatureError:
        return False
    return True
