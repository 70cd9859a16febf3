"""The publisher's keys: Ed25519 in PEM files, the root key with a passphrase, or on tokens.

A key on a hardware token has a record `ROLE.token.json` in the place of `ROLE.pem`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from edge.errors import UsageError
from firmware_bridge import durable
from firmware_bridge.fleet.trust import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin

PEM = ".pem"


def key_path(folder: Path, role: str, number: int = 1, count: int = 1, suffix: str = PEM) -> Path:
    """Return the path of a role's private key.

    Args:
        folder: Folder of the keys.
        role: A role.
        number: Which of the role's keys, from 1.
        count: Number of the role's keys.
        suffix: `PEM`, or `tokens.SUFFIX` for a key on a token.
    """
    return folder / (f"{role}{suffix}" if count == 1 else f"{role}-{number}{suffix}")


def key_paths(folder: Path, role: str) -> list[Path]:
    """Return the paths of the role's private keys that are there, or of their records."""
    found = []
    for suffix in (PEM, tokens.SUFFIX):
        # A replaced key is `ROLE-NUMBER.VERSION.pem`.
        numbered = [
            path
            for path in folder.glob(f"{role}-*{suffix}")
            if "." not in path.name.removesuffix(suffix)
        ]
        found += [folder / f"{role}{suffix}", *sorted(numbered)]
    return [path for path in found if path.is_file()]


def retired(path: Path, version: int) -> Path:
    """Return where a replaced key is kept: `NAME.VERSION.pem`."""
    suffix = tokens.SUFFIX if path.name.endswith(tokens.SUFFIX) else PEM
    return path.with_name(f"{path.name.removesuffix(suffix)}.{version}{suffix}")


def load_any(path: Path, passphrases: Sequence[bytes], pin: Pin | None = None) -> Signer:
    """Read a private key whose passphrase is one of several, or open one on a token.

    Args:
        path: PEM file, or record of a key on a token.
        passphrases: One of them is the file's; none for a file without one.
        pin: Returns a token's PIN.

    Raises:
        UsageError: The file is not an Ed25519 key, none of them is its passphrase, or token, key
            or PIN is wrong.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    if path.name.endswith(tokens.SUFFIX):
        return tokens.load(path, pin)
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
    write_private(path, private, passphrase)
    return CryptoSigner(private)


def write_private(
    path: Path,
    private: Ed25519PrivateKey | EllipticCurvePrivateKey,
    passphrase: bytes | None = None,
) -> None:
    """Write a private key as PEM, readable by its owner only.

    Raises:
        UsageError: The file exists.
    """
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
