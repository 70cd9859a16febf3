"""An enumeration whose members are their texts, in every supported Python."""

from __future__ import annotations

from enum import Enum


class TextEnum(str, Enum):
    """Members print, format, compare and hash as their value, like `enum.StrEnum` of Python 3.11.

    `class Name(str, Enum)` alone prints `Name.MEMBER` and formats differently between Python versions.
    """

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)
