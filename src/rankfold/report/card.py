"""`Card`: one of the numbers on top of a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A number with what it is.

    Attributes:
        number: the number, with its unit.
        what: what it is.
        more: what it compares to, in small letters.
    """

    number: str
    what: str
    more: str = ""
