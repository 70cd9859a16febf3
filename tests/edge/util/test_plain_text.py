"""Texts of others obey no terminal and mark no document up."""

from __future__ import annotations

import pytest

from edge.util.plain_text import markdown, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("title\x07", r"title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("back\rward", r"back\rward"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("two\nlines\tand a tab, Größe", "two\nlines\tand a tab, Größe"),
    ],
)
def test_controls_are_visible(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_markup_is_text() -> None:
    assert markdown("a|b\n# [x](http://y) *z* <img> `c`") == (
        r"a\|b # \[x\](http://y) \*z\* \<img> \`c\`"
    )
