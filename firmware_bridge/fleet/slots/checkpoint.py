"""Checkpoints of the audit log: its head at a time, signed by the device, to be kept elsewhere.

The log's own chain cannot show that the whole folder was rewritten. A checkpoint that left the
device does: the record that it names must still be in the log, or be the last one of a part that
was dropped.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError, DataError, UsageError
from firmware_bridge.fleet.slots import audit_chain as chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from firmware_bridge.fleet.slots.audit import AuditLog

_LARGEST = 1 << 16
_PURPOSE = b"edge-difom audit checkpoint\n"
"""Precedes what is signed, so that the signature cannot pass for one of anything else."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The head of a log at a time.

    Attributes:
        device: Name of the device, as the exporter gave it.
        at: Wall clock of the export, for display only.
        n: Number of the last record.
        digest: SHA-256 of its line.
        public_key: Raw Ed25519 public key of the signer as base64; empty without a signature.
        signature: Ed25519 signature as base64; empty without a key.
    """

    device: str
    at: str
    n: int
    digest: str
    public_key: str = ""
    signature: str = ""

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: every field except the signature."""
        return _PURPOSE + msgspec.json.encode(msgspec.structs.replace(self, signature=""))


def make_key(path: Path) -> str:
    """Make a device key: an Ed25519 key in a PEM file that only its owner can read.

    Returns:
        The public key as base64, by which checkpoints are verified elsewhere.

    Raises:
        UsageError: The file exists.
    """
    from firmware_bridge.fleet.trust import key_files

    key_files.generate(path)
    return _public(_load(path))


def export(log: AuditLog, now: Callable[[], datetime], device: str, key: Path | None) -> Checkpoint:
    """Make a checkpoint of a log.

    Args:
        log: The log; its chain is checked first.
        now: Wall clock, UTC.
        device: Name of the device.
        key: The device key; None leaves the checkpoint without a signature.

    Raises:
        BundleError: The log was tampered with, or has no record.
        UsageError: The key cannot be used.
    """
    report = log.verify()
    if not report.ok or report.head is None:
        raise BundleError(
            "the audit log cannot be vouched for",
            expected="an unbroken log with a record",
            got="; ".join(report.problems) or "no record",
        )
    at = now().isoformat(timespec="seconds")
    checkpoint = Checkpoint(device=device, at=at, n=report.head.n, digest=report.head.digest)
    if key is None:
        return checkpoint
    private = _load(key)
    checkpoint = msgspec.structs.replace(checkpoint, public_key=_public(private))
    signature = base64.b64encode(private.sign(checkpoint.signed_bytes)).decode()
    return msgspec.structs.replace(checkpoint, signature=signature)


def encode(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as one line of JSON."""
    return msgspec.json.encode(checkpoint) + b"\n"


def read(path: Path) -> list[Checkpoint]:
    """Read the checkpoints of a file, one a line.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        checkpoints = [
            msgspec.json.decode(line, type=Checkpoint) for line in data.splitlines() if line
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} holds no checkpoint", expected="an exported checkpoint", got=str(error)
        ) from error
    if not checkpoints:
        raise DataError(f"{path} holds no checkpoint", expected="an exported checkpoint")
    return checkpoints


def problems(log: AuditLog, checkpoint: Checkpoint, public_key: str = "") -> list[str]:
    """Compare a log with a checkpoint; an empty list if they agree.

    Args:
        log: The log.
        checkpoint: A checkpoint of the same device.
        public_key: Public key of the device as base64, known from elsewhere; empty accepts the
            checkpoint's own key, and a checkpoint without a signature.

    Raises:
        UsageError: `public_key` is not one.
    """
    findings = []
    if public_key:
        _decode_key(public_key)
    if (public_key or checkpoint.signature) and not _signed(checkpoint, public_key):
        findings.append(
            f"the checkpoint of record {checkpoint.n} is not signed by the device's key"
        )
    try:
        digest = chain.digests(log.lines()).get(checkpoint.n)
    except OSError as error:
        return [*findings, f"the log cannot be read: {error}"]
    if digest is None:
        findings.append(f"record {checkpoint.n} of the checkpoint is not in the log")
    elif digest != checkpoint.digest:
        findings.append(f"record {checkpoint.n} differs from the checkpoint")
    return findings


def _signed(checkpoint: Checkpoint, public_key: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if public_key and checkpoint.public_key != public_key:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(_decode_key(checkpoint.public_key))
        key.verify(base64.b64decode(checkpoint.signature, validate=True), checkpoint.signed_bytes)
    except (InvalidSignature, ValueError, UsageError):
        return False
    return True


def _decode_key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the public key cannot be read", expected="base64", got=text) from error
    if len(raw) != 32:
        raise UsageError("the public key cannot be used", expected="32 bytes", got=f"{len(raw)}")
    return raw


def _load(path: Path) -> Ed25519PrivateKey:
    from firmware_bridge.fleet.trust import key_files

    return key_files.load_private(path)


def _public(private: Ed25519PrivateKey) -> str:
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()
