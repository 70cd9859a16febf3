"""Order of versions in the ecosystems of advisories."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Callable

_DEBIAN = re.compile(r"(?:(?P<epoch>\d+):)?(?P<upstream>[^\s:]+?)(?:-(?P<revision>[^-\s]+))?$")


def key_of(ecosystem: str) -> Callable[[str], Any]:
    """Return the function that makes versions of an ecosystem comparable.

    Args:
        ecosystem: `PyPI`, `Debian` or `Ubuntu`, with or without a release; others compare numbers
            and letters in turn, as `1.1.1k`.

    Returns:
        A function that raises `ValueError` for a text that is no such version.
    """
    base = ecosystem.partition(":")[0]
    if base == "PyPI":
        return _python
    return _debian if base in ("Debian", "Ubuntu") else _plain


def _python(text: str) -> Any:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise ValueError(str(error)) from error


def _debian(text: str) -> Any:
    """Return the order of deb-version(7): epoch, upstream version, revision."""
    parsed = _DEBIAN.match(text)
    if parsed is None:
        raise ValueError(f"{text!r} is no version of Debian")
    parts = (parsed["upstream"], parsed["revision"] or "0")
    return (int(parsed["epoch"] or 0), *map(cmp_to_key(_compare_part), parts))


def _compare_part(left: str, right: str) -> int:
    pieces = (re.findall(r"\D*\d*", text) for text in (left, right))
    for one, other in zip_longest(*pieces, fillvalue=""):
        words = [re.sub(r"\d", "", piece) for piece in (one, other)]
        numbers = [int(re.sub(r"\D", "", piece) or 0) for piece in (one, other)]
        first, second = map(_letters, words)
        if first != second:
            return -1 if first < second else 1
        if numbers[0] != numbers[1]:
            return -1 if numbers[0] < numbers[1] else 1
    return 0


def _letters(text: str) -> list[int]:
    """Return the order of the signs of a part: `~`, the end, letters, then all others."""
    signs = [-1 if sign == "~" else ord(sign) + (0 if sign.isalpha() else 256) for sign in text]
    return [*signs, 0]


def _plain(text: str) -> Any:
    """Return numbers before letters: 1.1.1 < 1.1.1k < 1.1.1za < 1.1.2."""
    plain = plain_version(text)
    if not re.fullmatch(r"\d+(?:\.\d+)*(?:[a-z]*)", plain):
        raise ValueError(f"{text!r} has parts that cannot be ordered")
    numbers, letters = re.fullmatch(r"([\d.]+)([a-z]*)", plain).groups()  # type: ignore[union-attr]
    return [int(number) for number in numbers.split(".")], len(letters), letters


def plain_version(text: str) -> str:
    """Return the version in a tag: `OpenSSL_1_1_1k` and `v1.1.1k` are `1.1.1k`."""
    return re.sub(r"[_-]", ".", re.sub(r"^[^\d]*", "", text)).lower()
