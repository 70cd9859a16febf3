"""What a device believes of a publisher, in one file that is replaced whole. Needs no TUF to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import BundleError
from firmware_bridge import durable

if TYPE_CHECKING:
    from pathlib import Path

TRUST = "trust.json"


class Trusted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was last believed; metadata as it was signed.

    Attributes:
        root: Of the root role.
        timestamp: Of the timestamp role, None before the first refresh.
        snapshot: Of the snapshot role.
        seen: Wall clock at the last refresh, Unix seconds; an earlier clock is not believed.
    """

    root: str
    timestamp: str | None = None
    snapshot: str | None = None
    seen: int = 0


def load(folder: Path) -> Trusted:
    """What the device of a state folder believes.

    Raises:
        BundleError: It trusts nobody yet, or the file cannot be read.
    """
    path = folder / TRUST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trusted)
    except FileNotFoundError as error:
        raise BundleError(
            "this device trusts no publisher yet",
            expected="root metadata, brought by hand",
            hint="edge-difom device trust ROOT.json",
        ) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} cannot be read",
            got=str(error),
            hint="edge-difom device trust ROOT.json --replace",
        ) from error


def save(folder: Path, trusted: Trusted) -> None:
    """Replace what the device believes; after the return it outlasts a power cut."""
    durable.write(folder / TRUST, msgspec.json.encode(trusted))


def root_keys(trusted: Trusted) -> list[str]:
    """Key ids of the root role, to be compared by eye; reads what was verified when it was first trusted."""
    found: list[str] = msgspec.json.decode(trusted.root)["signed"]["roles"]["root"]["keyids"]
    return found
