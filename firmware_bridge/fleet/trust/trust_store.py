"""A device's trusted metadata in one file that is replaced atomically; reading it needs no TUF."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.errors import BundleError
from edge.util.machine_fault import refuse_machine_fault
from firmware_bridge import durable

TRUST = "trust.json"

ANCHOR = Path("/etc/edge-difom/root.json")
"""Root metadata for `DEFAULT_STATE` that the runtime's user cannot replace; optional.

Whoever can write the whole state folder can also replace the root in it. With this file, written by
the machine's administrator, only roots that follow from it count.
"""

DEFAULT_STATE = Path("/var/lib/edge-difom")
"""State folder of a cart computer, as its units name it."""

_MAX_PAST = 32


class Trusted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last trusted metadata, as they were signed.

    Attributes:
        root: Metadata of the root role.
        timestamp: Metadata of the timestamp role; None before the first refresh.
        snapshot: Metadata of the snapshot role; None before the first refresh.
        seen: Wall clock at the last refresh in Unix seconds; an earlier clock is not accepted.
        past: Roots that were trusted before, the latest first. They install nothing, but what was
            installed under them keeps running after keys were changed.
    """

    root: str
    timestamp: str | None = None
    snapshot: str | None = None
    seen: int = 0
    past: list[str] = []


def load(folder: Path) -> Trusted:
    """Load the trusted metadata of a state folder.

    Raises:
        BundleError: The device trusts no publisher yet, or the file cannot be read.
        MachineError: The machine prevents reading it.
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
        refuse_machine_fault(f"{path} cannot be read", error)
        raise BundleError(
            f"{path} cannot be read",
            got=str(error),
            hint="trust the publisher again, replacing this file",
            code="trust-unreadable",
        ) from error


def save(folder: Path, trusted: Trusted) -> None:
    """Replace the trusted metadata; they survive a power cut after the return.

    A root that is replaced is kept in `past`.
    """
    try:
        before = load(folder)
    except BundleError:
        roots = trusted.past
    else:
        roots = [before.root, *before.past, *trusted.past]
    past = [root for root in dict.fromkeys(roots) if root != trusted.root][:_MAX_PAST]
    updated = msgspec.structs.replace(trusted, past=past)
    durable.write(folder / TRUST, msgspec.json.encode(updated))


def trusted_roots(folder: Path) -> list[str]:
    """Return the roots whose signatures count for installed bundles, the newest first.

    Raises:
        BundleError: The device trusts no publisher, a file cannot be read, or the roots do not
            follow from `ANCHOR`.
        MachineError: The machine prevents reading them.
    """
    trusted = load(folder)
    roots = [trusted.root, *trusted.past]
    if folder.resolve() != DEFAULT_STATE.resolve():
        return roots
    try:
        anchor = ANCHOR.read_text()
    except FileNotFoundError:
        return roots
    except (OSError, UnicodeDecodeError) as error:
        refuse_machine_fault(f"{ANCHOR} cannot be read", error)
        raise BundleError(f"{ANCHOR} cannot be read", got=str(error)) from error
    from firmware_bridge.fleet.trust.signed_target import follow_roots

    return follow_roots(anchor, roots)


def root_keys(trusted: Trusted) -> list[str]:
    """Return the key ids of the root role for visual comparison; the root was verified before."""
    key_ids: list[str] = msgspec.json.decode(trusted.root)["signed"]["roles"]["root"]["keyids"]
    return key_ids
