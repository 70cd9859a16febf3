"""Keys that never leave a hardware token, used through PKCS#11.

A role's key on a token lies in the folder of the keys as `ROLE.token.json`, which names the key and
holds its public part only. The token, its PIN and its PKCS#11 library are needed to sign. The key
is made by the token's own tool; ECDSA on the curves P-256 and P-384 is supported
(securesystemslib's `HSMSigner`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, SSlibKey

from edge.errors import MachineError, MissingDependencyError, UsageError
from edge.util.installation import install_command
from firmware_bridge import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Pin = Callable[[str], str]
    """Returns the PIN of the token with this label."""

SUFFIX = ".token.json"
LIBRARY = "PYKCS11LIB"
"""Environment variable with the path of the token's PKCS#11 library."""

_FORMAT = 1


class TokenKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key on a token.

    Attributes:
        format: Format version of this record.
        uri: Which key of which token: `hsm:KEYID?label=LABEL`.
        keyid: Identifier of the public key in TUF metadata.
        public: The public key as in TUF metadata.
    """

    format: int = _FORMAT
    uri: str
    keyid: str
    public: dict[str, Any]


def enroll(path: Path, uri: str, pin: Pin | None) -> HSMSigner:
    """Read the public key of a token and record it in a file.

    Args:
        path: File to write, `ROLE.token.json`.
        uri: `hsm:KEYID?label=LABEL`; the label may be left out if there is one token only.
        pin: Returns a token's PIN.

    Raises:
        UsageError: The file exists, or token, key or PIN is wrong.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    number, label = _parts(uri)
    if path.exists():
        raise UsageError(f"{path} exists already", expected="a folder without keys")
    ask = _asking(label, pin)
    with _refusing(uri):
        whole, public = HSMSigner.import_(number, label or None, ask)
        record = TokenKey(uri=whole, keyid=public.keyid, public=public.to_dict())
        signer = _opened(record, ask)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return signer


def load(path: Path, pin: Pin | None) -> HSMSigner:
    """Open the key that a file names, and check PIN and key.

    Args:
        path: File that `enroll` wrote.
        pin: Returns a token's PIN.

    Raises:
        UsageError: The file, the token, the key or the PIN is wrong.
        MissingDependencyError: The package for PKCS#11 is not installed.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=TokenKey)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{path} cannot be read", expected="the record of a key on a token", got=str(error)
        ) from error
    _, label = _parts(record.uri)
    with _refusing(record.uri):
        return _opened(record, _asking(label, pin))


def _opened(record: TokenKey, ask: Callable[[str], str]) -> HSMSigner:
    """Return a signer whose PIN and key were tried, so that signing cannot fail half way."""
    public = SSlibKey.from_dict(record.keyid, dict(record.public))
    pin = ask("pin")
    signer = HSMSigner.from_priv_key_uri(record.uri, public, lambda _: pin)
    public.verify_signature(signer.sign(b"edge-difom"), b"edge-difom")
    return signer


def _parts(uri: str) -> tuple[int | None, str]:
    """Return number of the key and label of the token."""
    address = urlsplit(uri)
    asked = parse_qs(address.query)
    number = address.path or None
    if (
        address.scheme != HSMSigner.SCHEME
        or (number is not None and not (number.isascii() and number.isdigit()))
        or asked.keys() - {"label"}
    ):
        raise UsageError(
            f"invalid key on a token: {uri!r}", expected="hsm:KEYID?label=LABEL", got=uri
        )
    return None if number is None else int(number), asked.get("label", [""])[0]


def _asking(label: str, pin: Pin | None) -> Callable[[str], str]:
    if pin is None:
        raise UsageError(
            f"the token {label or 'with this key'} needs its PIN",
            expected="a PIN",
            hint="give it",
            code="no-pin",
        )
    return lambda _: pin(label)


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    """Convert errors of PKCS#11, its library and its Python package to one that names the key."""
    if not os.environ.get(LIBRARY):
        raise UsageError(
            f"{uri} needs the PKCS#11 library of its token",
            expected=f"its path in the environment variable {LIBRARY}",
            hint=f"{LIBRARY}=/usr/lib/softhsm/libsofthsm2.so, or the library of your token",
        )
    try:
        yield
    except UnsupportedLibraryError as error:
        raise MissingDependencyError(
            "keys on tokens need the Python package `python-pkcs11`",
            expected="module pkcs11",
            got=str(error),
            hint=install_command("hsm"),
        ) from error
    except (UsageError, MachineError):
        raise
    except Exception as error:
        raise UsageError(
            f"{uri} cannot be used",
            expected="a token that is plugged in, an ECDSA key on it, and its PIN",
            got=f"{type(error).__name__} {error}".strip(),
        ) from error
