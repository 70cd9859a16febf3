"""The PDF front page; the only module that imports ReportLab."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from edge.util.extras import resolve
from edge.util.plain_text import printable

if TYPE_CHECKING:
    from firmware_bridge.fleet.dossier.layout import FrontPage, Table

_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_COLORS = {"good": "#0f7b4f", "bad": "#b3261e", "open": "#8a5a00"}
_RULE, _QUIET, _MARGIN_MM = "#bbbbbb", "#444444", 14
_WIDEST_CELL = 60
"""Characters from which a longer cell gives its column no more width."""


def require_pdf() -> None:
    """Check the packages that a PDF needs before any work is done.

    Raises:
        MissingDependencyError: ReportLab or matplotlib is not installed.
    """
    resolve("reportlab.platypus:SimpleDocTemplate")
    resolve("matplotlib:get_data_path")


def pdf_page(page: FrontPage) -> bytes:
    """Render a front page as PDF, A4; the same page gives the same bytes.

    Args:
        page: What it shows. All texts are shown as they are, never as markup.

    Raises:
        MissingDependencyError: ReportLab or matplotlib is not installed.
    """
    require_pdf()
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    _register_fonts()
    text = ParagraphStyle("text", fontName=_FONT, fontSize=8.5, leading=11.5, spaceAfter=3)
    title = ParagraphStyle("title", text, fontName=_BOLD, fontSize=16, leading=20)
    heading = ParagraphStyle("heading", text, fontName=_BOLD, fontSize=11, leading=14)
    heading.spaceBefore, heading.keepWithNext = 12, True
    quiet = ParagraphStyle("quiet", text, textColor=_QUIET)

    buffer = io.BytesIO()
    width = A4[0] - 2 * _MARGIN_MM * mm
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN_MM * mm,
        rightMargin=_MARGIN_MM * mm,
        topMargin=_MARGIN_MM * mm,
        bottomMargin=_MARGIN_MM * mm,
        title=printable(page.title),
        author="edge-difom",
        subject=printable(page.notice),
        invariant=1,
    )
    story: list[Any] = [
        Paragraph(_escaped(page.title), title),
        Paragraph(_escaped(page.subtitle), quiet),
        Paragraph(_escaped(page.notice), quiet),
        Spacer(1, 6),
        _verdicts(page, width),
    ]
    for section in page.sections:
        story.append(Paragraph(_escaped(section.title), heading))
        story += [Paragraph(_escaped(line), text) for line in section.text]
        for table in section.tables:
            if table.rows:
                story += [_table(table, width), Spacer(1, 5)]
    document.build(story, onFirstPage=_number_page, onLaterPages=_number_page)
    return buffer.getvalue()


def _register_fonts() -> None:
    """Register fonts that have the letters of most scripts; PDF's own have Latin 1 alone."""
    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))


def _number_page(canvas: Any, document: Any) -> None:
    canvas.setFont(_FONT, 7)
    canvas.setFillColor(_QUIET)
    canvas.drawRightString(document.pagesize[0] - 40, 20, str(canvas.getPageNumber()))


def _verdicts(page: FrontPage, width: float) -> Any:
    colors = [_COLORS[each.rating] for each in page.verdicts]
    return _grid(
        [[each.subject, each.word, each.detail] for each in page.verdicts],
        [0.28 * width, 0.2 * width, 0.52 * width],
        colors=colors,
    )


def _table(table: Table, width: float) -> Any:
    columns = list(zip(table.columns, *table.rows, strict=True))
    longest = [min(max(map(len, column)), _WIDEST_CELL) for column in columns]
    weights = [max(9, length) for length in longest]
    widths = [width * weight / sum(weights) for weight in weights]
    return _grid([table.columns, *table.rows], widths, head=True)


def _grid(
    rows: list[list[str]],
    widths: list[float],
    *,
    head: bool = False,
    colors: list[str] | None = None,
) -> Any:
    """Make a table; `colors` are those of the second column, one for each row."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import LongTable, Paragraph

    cell = ParagraphStyle("cell", fontName=_FONT, fontSize=6.5, leading=8.2, splitLongWords=True)
    bold = ParagraphStyle("bold", cell, fontName=_BOLD)
    content = []
    for number, row in enumerate(rows):
        styles = [bold if head and number == 0 else cell] * len(row)
        if colors is not None:
            styles[1] = ParagraphStyle("verdict", bold, textColor=colors[number])
        content.append(
            [Paragraph(_escaped(text), style) for text, style in zip(row, styles, strict=True)]
        )
    return LongTable(
        content,
        colWidths=widths,
        repeatRows=int(head),
        splitInRow=1,
        hAlign="LEFT",
        style=[
            ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
            ("RIGHTPADDING", (0, 0), (-1, -1), 2),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ],
    )


def _escaped(text: str) -> str:
    """Return a text that ReportLab shows as it is: its paragraphs read markup, images included."""
    return escape(printable(text))
