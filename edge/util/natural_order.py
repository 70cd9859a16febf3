"""The order in which people count: 2 before 10."""

from __future__ import annotations

import re


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key of a file name that orders its numbers by their values."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
