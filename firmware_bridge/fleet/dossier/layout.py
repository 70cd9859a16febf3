"""Headings, sentences and tables of a front page, for any format."""

from __future__ import annotations

from typing import Literal, NamedTuple

NONE = "-"
"""Cell of a figure that was not measured."""

Rating = Literal["good", "bad", "open"]


class Table(NamedTuple):
    """A table; every row has one text for each column."""

    columns: list[str]
    rows: list[list[str]]


class Verdict(NamedTuple):
    """One line of the summary.

    Attributes:
        subject: What was judged.
        word: The outcome.
        rating: `good`, `bad`, or `open` if it was not judged or not decided.
        detail: Its reason.
    """

    subject: str
    word: str
    rating: Rating
    detail: str = ""


class Section(NamedTuple):
    """A heading with sentences and tables."""

    title: str
    text: list[str]
    tables: list[Table]


class FrontPage(NamedTuple):
    """A front page.

    Attributes:
        title: Its heading.
        subtitle: Digest and date.
        notice: The intended use.
        verdicts: The summary.
        sections: Everything else.
    """

    title: str
    subtitle: str
    notice: str
    verdicts: list[Verdict]
    sections: list[Section]
