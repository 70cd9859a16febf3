"""The four roles of a repository, and how long their signatures are valid.

Expiry only prevents installation: a device keeps running what is installed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

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
