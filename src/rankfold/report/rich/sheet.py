"""`Sheet`: what a notebook shows of an object, and its HTML."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from functools import singledispatch

from rankfold.report.template import template

MOST_ROWS = 60  # of a table


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is shown of an object. All texts are plain; the page escapes them.

    Attributes:
        title: what it is.
        facts: (what, amount) beside each other.
        headers: of the table; the first column is words, as are those named in `words`.
        rows: of the table.
        words: headers of further columns of words.
        picture: an SVG file; empty: none.
        told: the picture in words, for who cannot see it.
        more: rows that are left out.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()
    picture: str = ""
    told: str = ""
    more: int = 0

    @property
    def source(self) -> str:
        """The picture as the address of an image: within an image its ids are its own."""
        content = base64.b64encode(self.picture.encode()).decode()
        return f"data:image/svg+xml;base64,{content}"


@singledispatch
def sheet_of(thing: object) -> Sheet:
    """What is shown of an object.

    Raises:
        TypeError: nobody has said what is shown of its class.
    """
    raise TypeError(f"nothing is known of how to show {type(thing).__name__}")


def html_of(thing: object) -> str:
    """An object as a notebook shows it."""
    sheet = sheet_of(thing)
    shown = replace(sheet, rows=sheet.rows[:MOST_ROWS], more=max(0, len(sheet.rows) - MOST_ROWS))
    return template("rich.html").render(sheet=shown)
