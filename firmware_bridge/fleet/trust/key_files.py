"""The publisher's keys: Ed25519 in PEM files; the root key is encrypted with a passphrase."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from edge.errors import UsageError
from firmware_bridge import durable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def key_path(folder: Path, role: str, number: int = 1, count: int = 1) -> Path:
    """Return the path of a role's private key.

    Args:
        folder: Folder of the keys.
        role: A role.
        number: Which of the role's keys, from 1.
        count: Number of the role's keys.
    """
    return folder / (f"{role}.pem" if count == 1 else f"{role}-{number}.pem")


def key_paths(folder: Path, role: str) -> list[Path]:
    """Return the paths of the role's private keys that are there."""
    # A replaced key is `ROLE-NUMBER.VERSION.pem`.
    numbered = [path for path in folder.glob(f"{role}-*.pem") if path.stem.count(".") == 0]
    return [path for path in (folder / f"{role}.pem", *sorted(numbered)) if path.is_file()]


def load_any(path: Path, passphrases: Sequence[bytes]) -> CryptoSigner:
    """Read a private key whose passphrase is one of several.

    Raises:
        UsageError: The file is not an Ed25519 key, or none of them is its passphrase.
    """
    for passphrase in passphrases[:-1]:
        with suppress(UsageError):
            return load(path, passphrase)
    return load(path, passphrases[-1] if passphrases else None)


def generate(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Make a key and write it, readable by its owner only.

    Args:
        path: PEM file to write.
        passphrase: Passphrase that encrypts it.

    Raises:
        UsageError: The file exists.
    """
    private = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(
            f"{path} exists already", expected="a folder without keys", hint="another folder"
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        durable.sync_file(file)
    durable.sync_folder(path.parent)
    return CryptoSigner(private)


def load(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Read a publisher's private key as `load_private` does."""
    return CryptoSigner(load_private(path, passphrase))


def load_private(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key.

    Args:
        path: PEM file.
        passphrase: Passphrase of the file, if it has one.

    Raises:
        UsageError: The file is missing or not an Ed25519 key, or the passphrase is wrong.
    """
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read",
            expected="a private key",
            got=error.strerror or str(error),
            hint="create the publisher's keys first",
            code="no-keys",
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be used", expected="an Ed25519 key and its passphrase", got=str(error)
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(
            f"{path} is a different kind of key", expected="Ed25519", got=type(private).__name__
        )
    return private
