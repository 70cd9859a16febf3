"""The four roles of a repository, and how long what they sign holds.

Expiry decides about installing alone: a device runs what it holds for as long as it works.
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
"""Roles that sign each publication; root signs keys alone, and its key lies elsewhere."""

DAYS = {"root": 1825, "targets": 365, "snapshot": 90, "timestamp": 90}
"""Days until what a role signs expires. A stick is carried to carts for weeks, so the timestamp is no matter of hours."""


def days_of(texts: Sequence[str]) -> dict[str, int]:
    """`DAYS` with changes.

    Args:
        texts: `ROLE=DAYS`.

    Raises:
        UsageError: No role, or no number of days.
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
                f"{text!r} is no time of expiry",
                expected=f"ROLE=DAYS with a role of {', '.join(ROLES)}",
            )
        days[role] = int(number)
    return days


def expiry(role: str, now: datetime, days: Mapping[str, int]) -> datetime:
    """When what is signed now expires, UTC."""
    return now.replace(microsecond=0) + timedelta(days=days[role])
