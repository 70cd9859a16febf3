"""A signed statement: an in-toto statement in a DSSE envelope in a Sigstore bundle, by one key.

Formats: in-toto attestation framework v1 (Statement), DSSE 1.0 (`PAE`), Sigstore bundle 0.3 with a
public key as its verification material, as the OpenSSF model signing specification (OMS 1.0) asks
for. The key is ECDSA on P-256, with SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.errors import BundleError, UsageError
from edge.util.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import Signer

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

LARGEST = 4 << 20
"""Maximum size of a file with a signed statement, bytes."""

_COPY = "copy the attestation again from where it was made"


def sign_statement(statement: dict[str, Any], signer: Signer, public: bytes) -> bytes:
    """Sign a statement.

    Args:
        statement: An in-toto statement.
        signer: Holds the private key.
        public: Its public key as PEM.

    Returns:
        The Sigstore bundle as JSON, to be written to a file.
    """
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = bytes.fromhex(signer.sign(encode_pae(payload)).signature)
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": sha256(public)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read_statement(path: Path, public: bytes) -> dict[str, Any]:
    """Return the statement in a file after its signature was verified.

    Args:
        path: File that `sign_statement` or another implementation wrote.
        public: Public key of who must have signed it, as PEM.

    Raises:
        UsageError: The public key cannot be used.
        BundleError: The file cannot be read, or that key did not sign it.
    """
    key = load_public(public)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    try:
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        document = json.loads(data)
        if document["mediaType"] != MEDIA_TYPE:
            raise ValueError(f"the media type {document['mediaType']!r}")
        hint = document["verificationMaterial"]["publicKey"].get("hint")
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"the payload type {envelope['payloadType']!r}")
        payload = base64.b64decode(envelope["payload"], validate=True)
        (entry,) = envelope["signatures"]
        signature = base64.b64decode(entry["sig"], validate=True)
        if hint not in (None, "", sha256(_pem(key))):
            raise BundleError(
                f"a different key signed {path}",
                expected=f"the key with SHA-256 {sha256(_pem(key))}",
                got=ascii(hint),
            )
        key.verify(signature, encode_pae(payload), ec.ECDSA(hashes.SHA256()))
        statement = json.loads(payload)
        if statement["_type"] != STATEMENT_TYPE or not isinstance(statement["predicateType"], str):
            raise ValueError(f"a statement of the type {statement['_type']!r}")
    except InvalidSignature as error:
        raise BundleError(
            f"the signature of {path} is wrong",
            expected="a statement as it was signed",
            hint=_COPY,
        ) from error
    except (
        *(ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error),
    ) as error:
        raise BundleError(
            f"{path} is not a signed statement",
            expected=f"a Sigstore bundle ({MEDIA_TYPE}) of a key, with one signature",
            got=f"{type(error).__name__}: {error}"[:500],
            hint=_COPY,
        ) from error
    result: dict[str, Any] = statement
    return result


def encode_pae(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %s %d %s" % (
        len(PAYLOAD_TYPE),
        PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )


def load_public(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Read a public key.

    Raises:
        UsageError: It is not an ECDSA key on P-256.
    """
    try:
        key = serialization.load_pem_public_key(pem)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key
        got = type(key).__name__
    except ValueError as error:
        got = str(error)
    raise UsageError(
        "the public key cannot be used",
        expected="a PEM file with an ECDSA key on P-256, such as KEYS/attestation.pub.pem",
        got=got,
    )


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
