"""A device's trusted metadata in one file that is replaced atomically; reading it needs no TUF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError
from firmware_bridge import durable

if TYPE_CHECKING:
    from pathlib import Path

TRUST = "trust.json"


class Trusted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last trusted metadata, as they were signed.

    Attributes:
        root: Metadata of the root role.
        timestamp: Metadata of the timestamp role; None before the first refresh.
        snapshot: Metadata of the snapshot role; None before the first refresh.
        seen: Wall clock at the last refresh in Unix seconds; an earlier clock is not accepted.
    """

    root: str
    timestamp: str | None = None
    snapshot: str | None = None
    seen: int = 0


def load(folder: Path) -> Trusted:
    """Load the trusted metadata of a state folder.

    Raises:
        BundleError: The device trusts no publisher yet, or the file cannot be read.
    """
    path = folder / TRUST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trusted)
    except FileNotFoundError as error:
        raise BundleError(
            "this device trusts no publisher yet",
            expected="root metadata, brought by hand",
            hint="trust a publisher first",
            code="no-publisher",
        ) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} cannot be read",
            got=str(error),
            hint="trust the publisher again, replacing this file",
            code="trust-unreadable",
        ) from error


def save(folder: Path, trusted: Trusted) -> None:
    """Replace the trusted metadata; they survive a power cut after the return."""
    durable.write(folder / TRUST, msgspec.json.encode(trusted))


def root_keys(trusted: Trusted) -> list[str]:
    """Return the key ids of the root role for visual comparison; the root was verified before."""
    found: list[str] = msgspec.json.decode(trusted.root)["signed"]["roles"]["root"]["keyids"]
    return found
