"""Texts of others, such as the names in a bundle, made harmless for terminals and documents."""

from __future__ import annotations

import re

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and end of line, and marks that reorder the text around them."""

_MARKUP = re.compile(r"([\\`*\[\]<|~])")


def printable(text: str) -> str:
    """Return a text in which every control character is visible as its hexadecimal code.

    A terminal obeys escape codes in whatever it prints: they can rewrite lines above, change its
    title, or hide a warning. Tabs and ends of line stay.
    """
    return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], text)


def markdown(text: str) -> str:
    """Return a text as Markdown that shows exactly this text, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(printable(text).split()))
