"""The four roles of a repository, and how long their signatures are valid.

Expiry only prevents installation: a device keeps running what is installed.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

ROLES = ("root", "targets", "snapshot", "timestamp")
ONLINE = ("targets", "snapshot", "timestamp")
"""Roles that sign each publication; root only signs keys, and its key is stored elsewhere."""

DAYS = {"root": 1825, "targets": 365, "snapshot": 90, "timestamp": 90}
"""Days until a role's signature expires.

A USB stick travels to carts for weeks, so even the timestamp must be valid for months.
"""


class Quorum(NamedTuple):
    """How many of a role's keys must sign.

    Attributes:
        needed: Signatures that a device asks for.
        keys: Keys that the role has.
    """

    needed: int = 1
    keys: int = 1


MAX_KEYS = 16
"""Maximum number of keys of one role."""


def quorums_of(texts: Sequence[str], roles: Sequence[str] = ROLES) -> dict[str, Quorum]:
    """Return the quorum of each role that is named.

    Args:
        texts: `ROLE=NEEDED` or `ROLE=NEEDED/KEYS`.
        roles: The roles that there are.

    Raises:
        UsageError: A role is unknown, or fewer keys exist than are needed.
    """
    quorums: dict[str, Quorum] = {}
    for text in texts:
        match = re.fullmatch(r"([\w-]+)=(\d{1,2})(?:/(\d{1,2}))?", text, re.ASCII)
        role, needed, keys = match.groups() if match else ("", "0", None)
        quorum = Quorum(int(needed), int(keys or needed))
        if role not in roles or not 1 <= quorum.needed <= quorum.keys <= MAX_KEYS:
            raise UsageError(
                f"invalid threshold {text!r}",
                expected=f"ROLE=NEEDED or ROLE=NEEDED/KEYS with a role of {', '.join(roles)} and "
                f"1 <= NEEDED <= KEYS <= {MAX_KEYS}",
            )
        quorums[role] = quorum
    return quorums


def days_of(texts: Sequence[str]) -> dict[str, int]:
    """Return `DAYS` with changes.

    Args:
        texts: Changes as `ROLE=DAYS`.

    Raises:
        UsageError: A role is unknown, or a number of days is invalid.
    """
    days = dict(DAYS)
    for text in texts:
        role, _, number = text.partition("=")
        if (
            role not in ROLES
            or not number.isascii()
            or not number.isdigit()
            or not 1 <= int(number) <= 36500
        ):
            raise UsageError(
                f"invalid expiry {text!r}",
                expected=f"ROLE=DAYS with a role of {', '.join(ROLES)}",
            )
        days[role] = int(number)
    return days


def expiry(role: str, now: datetime, days: Mapping[str, int]) -> datetime:
    """Return when a signature made now expires, UTC."""
    return now.replace(microsecond=0) + timedelta(days=days[role])
