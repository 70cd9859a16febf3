"""New keys of a role: as many as its threshold says, made here or recorded from tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from firmware_bridge.fleet.trust import key_files, tokens
from firmware_bridge.fleet.trust.roles import Quorum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

    from firmware_bridge.fleet.trust.tokens import Pin


def quorum_for(role: str, asked: Quorum | None, uris: Sequence[str], usual: Quorum) -> Quorum:
    """Return how many keys a role has, and how many of them must sign.

    Args:
        role: The role.
        asked: What was asked for.
        uris: Its keys on tokens; a role has all of its keys on tokens or none.
        usual: What it has if nothing was asked for.

    Raises:
        UsageError: What was asked for does not fit the keys on tokens.
    """
    if not uris:
        return asked or usual
    if asked is not None and asked.keys != len(uris):
        raise UsageError(
            f"{len(uris)} keys of {role} are on tokens",
            expected=f"{asked.keys}, as its threshold says",
        )
    return asked or Quorum(min(usual.needed, len(uris)), len(uris))


def new_keys(
    folder: Path,
    role: str,
    quorum: Quorum,
    passphrases: Sequence[bytes],
    uris: Sequence[str],
    pin: Pin | None,
    mark: str = "",
) -> dict[Path, Signer]:
    """Make the keys of a role, or record those on tokens.

    Args:
        folder: Folder of the keys.
        role: The role.
        quorum: How many keys it has.
        passphrases: Passphrase of the root keys, or one for each of them.
        uris: Its keys on tokens; if there are any, no key is made.
        pin: Returns a token's PIN.
        mark: Put before the names of the files, until they replace others.

    Returns:
        File of each key -> its signer.

    Raises:
        UsageError: A file exists, a passphrase is missing, or a key on a token cannot be used.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    made: dict[Path, Signer] = {}
    for number, uri in enumerate(uris, 1):
        path = key_files.key_path(folder, role, number, quorum.keys, tokens.SUFFIX)
        path = path.with_name(mark + path.name)
        made[path] = tokens.enroll(path, uri, pin)
    if uris:
        return made
    secrets = _secrets(passphrases, quorum.keys) if role == "root" else [None] * quorum.keys
    for number, secret in enumerate(secrets, 1):
        path = key_files.key_path(folder, role, number, quorum.keys)
        path = path.with_name(mark + path.name)
        made[path] = key_files.generate(path, secret)
    return made


def _secrets(passphrases: Sequence[bytes], count: int) -> list[bytes | None]:
    """Return the passphrase of each root key."""
    if not passphrases or not all(passphrases):
        raise UsageError("the root key has no passphrase", expected="one that is not empty")
    if len(passphrases) not in (1, count):
        raise UsageError(
            "the number of passphrases does not fit",
            expected=f"1, or {count}: one for each root key",
            got=str(len(passphrases)),
        )
    return [*passphrases] if len(passphrases) == count else [passphrases[0]] * count
