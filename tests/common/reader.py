"""Reads a page as a browser would, enough for the tests."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The text, tables, tags and attributes of a page; fails on tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.headline = ""
        self.cards: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"still open: {self._open}"

    @property
    def text(self) -> str:
        """All that is written outside of style, with plain spaces."""
        return " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "div" and ("class", "card") in attrs:
            self.cards.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> does not match"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self._text.append(data + " ")
        data = " ".join(data.split())
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if "h1" in self._open:
            self.headline += data
        if (
            self._open[-1:] in (["b"], ["span"], ["small"])
            and "div" in self._open
            and "table" not in self._open
            and self.cards
        ):
            self.cards[-1] += f"{data} "
