"""The key of attestations: ECDSA on P-256, in a PEM file or on a PKCS#11 token.

It is a key of its own, because the reference verifiers of model signing take no Ed25519. Whoever
checks an attestation needs its public part, `attestation.pub.pem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner, SSlibKey

from edge.errors import UsageError
from firmware_bridge import durable
from firmware_bridge.fleet.attest.envelope import load_public
from firmware_bridge.fleet.trust import key_files, tokens

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin

NAME = "attestation"
PUBLIC = f"{NAME}.pub.pem"


def make_key(folder: Path, *, uri: str = "", pin: Pin | None = None) -> Path:
    """Make the key of attestations, or record one of a token.

    Args:
        folder: Folder of the publisher's keys.
        uri: `hsm:KEYID?label=LABEL` of a key on a token; empty to make one.
        pin: Returns a token's PIN.

    Returns:
        The public key, a PEM file.

    Raises:
        UsageError: There is one already, or the key on the token cannot be used.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    if has_key(folder):
        raise UsageError(
            f"{folder} has a key of attestations already", expected="a folder without one"
        )
    if uri:
        path = folder / f"{NAME}{tokens.SUFFIX}"
        public = tokens.enroll(path, uri, pin).public_key
        assert isinstance(public, SSlibKey), "as HSMSigner's keys are"
        pem = str(public.keyval["public"]).encode()
        try:
            load_public(pem)
        except UsageError:
            path.unlink()
            raise
    else:
        private = ec.generate_private_key(ec.SECP256R1())
        key_files.write_private(folder / f"{NAME}{key_files.PEM}", private)
        pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    durable.write(folder / PUBLIC, pem)
    return folder / PUBLIC


def has_key(folder: Path) -> bool:
    """Return whether a folder has a key of attestations."""
    return (folder / f"{NAME}{key_files.PEM}").exists() or (
        folder / f"{NAME}{tokens.SUFFIX}"
    ).exists()


def load_key(folder: Path, pin: Pin | None = None) -> tuple[Signer, bytes]:
    """Open the key of attestations.

    Returns:
        The signer, and its public key as PEM.

    Raises:
        UsageError: There is none, or it or its token cannot be used.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    on_token = folder / f"{NAME}{tokens.SUFFIX}"
    if on_token.exists():
        signer = tokens.load(on_token, pin)
        return signer, (folder / PUBLIC).read_bytes()
    path = folder / f"{NAME}{key_files.PEM}"
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be used", expected="the key of attestations", got=str(error)
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise UsageError(
            f"{path} is a different kind of key",
            expected="ECDSA on P-256",
            got=type(private).__name__,
        )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    load_public(public)
    return CryptoSigner(private), public
